"""What found no room is counted each time, and said now and then."""

import pytest

from dynod.core.losses import SENTENCES, Loss, Losses


def test_a_loss_is_said_the_first_time_and_at_each_further_digit() -> None:
    said: list[str] = []
    losses = Losses(said.append)
    for _ in range(120):
        losses.lose(Loss.EVENTS, 1)
    assert [line.partition(" ")[0] for line in said] == ["1", "10", "100"]
    losses.lose(Loss.WEBHOOK_MESSAGES, 40)
    assert said[3].startswith("40 webhook messages were given up")
    assert losses.counts == {**dict.fromkeys(Loss, 0), Loss.EVENTS: 120, Loss.WEBHOOK_MESSAGES: 40}


@pytest.mark.parametrize("what", Loss)
def test_each_has_words(what: Loss) -> None:
    assert SENTENCES[what]
