"""Which level of isolation is used, and what is said of it."""

from dataclasses import replace

import pytest

from dynod.core.isolation import STRONGEST, Abilities, Isolation, choose
from dynod.errors import SettingsError

ALL = Abilities(container=None, own_users=True)
NOTHING = Abilities(container="no user namespaces")
USERS = Abilities(container="no user namespaces", users=None)


@pytest.mark.parametrize(
    ("wanted", "abilities", "level", "said"),
    [
        (STRONGEST, ALL, Isolation.CONTAINER, []),
        ("container", ALL, Isolation.CONTAINER, []),
        ("none", ALL, Isolation.NONE, ["dynos are not kept apart: container.isolation is none"]),
        (
            STRONGEST,
            NOTHING,
            Isolation.NONE,
            ["no containers: no user namespaces; no users: dynod may not"],
        ),
        (STRONGEST, USERS, Isolation.USER, ["by users alone, each app its own, not by containers: no user namespaces"]),
        ("user", replace(USERS, confined=False), Isolation.USER, ["its own and free to read what every user may (no "]),
        ("user", USERS, Isolation.USER, ["by users alone, each app its own: container.isolation is user"]),
        ("user", replace(ALL, users=None), Isolation.USER, ["container.isolation is user"]),
        (STRONGEST, Abilities(container=None), Isolation.CONTAINER, ["dynod's own user"]),
        (STRONGEST, Abilities(container=None, own_users=True, mapped="mount: no"), Isolation.CONTAINER, ["mount: no"]),
        (STRONGEST, Abilities(container=None, own_users=True, filtered=False), Isolation.CONTAINER, ["not filtered"]),
        (STRONGEST, replace(ALL, scoped=False), Isolation.CONTAINER, ["dynos reach abstract sockets of others: "]),
        (
            "user",
            replace(USERS, filtered=False, scoped=False),
            Isolation.USER,
            ["by users", "not filtered", "abstract"],
        ),
    ],
)
def test_the_level_that_is_used(wanted: str, abilities: Abilities, level: Isolation, said: list[str]) -> None:
    chosen = choose(wanted, abilities)
    assert chosen.level is level
    assert len(chosen.lacks) == len(said)
    assert all(part in lack for part, lack in zip(said, chosen.lacks, strict=True))


def test_a_level_asked_for_by_name_is_not_silently_another() -> None:
    with pytest.raises(SettingsError, match="no user namespaces"):
        choose("container", NOTHING)
    with pytest.raises(SettingsError, match="no user namespaces"):
        choose("container", USERS)
    with pytest.raises(SettingsError, match="no users for apps: dynod may not"):
        choose("user", NOTHING)
