"""What a keeper holds comes whole to the keeper that it becomes, also from a version that knows more."""

import json
import os
import signal
import socket
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dynod.keeper import inheritance
from dynod.keeper.inheritance import Estate, Former
from dynod.keeper.instances import KeptInstance
from dynod.keeper.limits import Limits
from dynod.keeper.notify import Notifier
from dynod.keeper.protocol import Beat, Channel, Spawn, encode

TEXT = st.text(max_size=10)
FD = st.integers(0, 10_000)
FORMER = st.builds(
    Former,
    pid=FD,
    fd=FD,
    program=st.lists(TEXT, max_size=3).map(tuple),
    silent_at=st.floats(0, 1e9) | st.just(float("inf")),
    received=st.binary(max_size=20),
)
PAIR = st.tuples(FD, FD)
PROGRAM = st.lists(TEXT, min_size=1, max_size=3).map(tuple)
ESTATE = st.builds(
    Estate,
    arguments=st.lists(TEXT, max_size=3),
    notify=st.tuples(TEXT, st.none() | st.floats(0.1, 60)),
    limits=st.builds(Limits, nofile=PAIR, core=PAIR),
    most_fds=FD,
    stdin=FD,
    stdin_end=st.none() | FD,
    signals=st.lists(FD, max_size=3),
    store=st.dictionaries(TEXT, TEXT | st.just("no UTF-8: \udcff"), max_size=3),
    held=st.dictionaries(TEXT, st.lists(FD, max_size=3), max_size=3),
    instances=st.just([]),
    generation=FD,
    now=PROGRAM,
    before=st.none() | PROGRAM,
    follows=st.none() | FORMER,
    retired=st.lists(FORMER, max_size=3),
)


@given(ESTATE)
def test_it_is_read_as_it_was_written(estate: Estate) -> None:
    fd = inheritance.write(estate)
    assert os.get_inheritable(fd)
    assert inheritance.read(fd) == estate


def test_a_version_that_knows_more_may_be_gone_back_from() -> None:
    found: dict[str, Any] = {
        **Estate(
            [], ("", None), Limits((1, 2), (3, 4)), 9, 0, None, [], {}, {}, [], 1, ("p",), None, None, []
        )._asdict(),
        "more": {"than": "there was"},
        "follows": [1, 2, ["p"], 3.0, "", "and more"],
    }
    fd = os.memfd_create("test")
    os.write(fd, json.dumps(found).encode())
    assert inheritance.read(fd).follows == Former(1, 2, ("p",), 3.0, b"")


def test_an_instance_is_what_it_was_in_the_middle_of_its_stop() -> None:
    asked = Spawn("i", ["sh"], {"A": "b"}, "/", ["M=\udcff"], signal.SIGTERM, 30.0, "up", watches=True)
    instance = KeptInstance(asked, 4711, [5, 6])
    instance.stopping, instance.kill_at, instance.killed = True, time.monotonic() + 5, False
    instance.exit_code, instance.exited_at = -9, 12.5
    instance.owner = instance.owner._replace(reaped=True)
    again = KeptInstance.from_state(json.loads(json.dumps(instance.as_state())))
    assert vars(again) == vars(instance)
    assert again.as_message() == instance.as_message()


def test_half_a_message_of_a_retired_core_is_completed() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        frame = encode(Beat())
        first = Channel(ours)
        theirs.send(frame[:3])
        assert first.receive() == []
        second = Channel(socket.socket(fileno=os.dup(first.fileno())))
        second.go_on_from(first.begun)
        theirs.send(frame[3:])
        assert [received.message for received in second.receive()] == [Beat()]
        first.close()
        second.close()


def test_systemd_is_spoken_to_where_it_was() -> None:
    for address in ("/run/notify", "@abstract", ""):
        notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000000"})
        again = Notifier.at(*notifier.address)
        assert (again.address, again.is_heard) == (notifier.address, bool(address))
        assert again.watchdog_s == (5.0 if address else None)
        for each in (notifier, again):
            if each._socket is not None:
                each._socket.close()
