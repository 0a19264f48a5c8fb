"""What is in the way of an installation: told before anything is changed, and nothing else is in it."""

import pytest

from dynod.core.service_obstacles import Place, TakenPort, obstacles, ports
from dynod.core.service_plan import MARK, Link, Machine, Remove, Run, Step, WriteFile

VM = Machine(version="1.2.3")
UNIT = "/etc/systemd/system/dynod.service"
WRITE = WriteFile(path=UNIT, text=f"{MARK}\n[Service]\n")
LINK = Link(path="/usr/local/bin/dynod", target="/opt/dynod/current/bin/dynod")
CURRENT = Link(path="/opt/dynod/current", target="1.2.3")
REFUSED = "/etc/systemd/system cannot be written to: its file system is read-only"


@pytest.mark.parametrize(
    ("step", "place", "told"),
    [
        (WRITE, Place(kind="nothing"), []),
        (WRITE, Place(kind="file", text=f"{MARK}, of another version\n"), []),
        (WRITE, Place(kind="file", text=WRITE.text, refused=REFUSED), []),
        (WRITE, Place(kind="file", text=f"{MARK}\n", refused=REFUSED), [REFUSED]),
        (WRITE, Place(kind="nothing", refused=REFUSED), [REFUSED]),
        (
            WRITE,
            Place(kind="file", text="[Service]\n"),
            [f"{UNIT} is there, and was not written by dynod: move it away"],
        ),
        (WRITE, Place(kind="folder"), [f"{UNIT} is there, and was not written by dynod: move it away"]),
        (WRITE, Place(kind="link", target="/dev/null"), [f"{UNIT} is masked: systemctl unmask dynod.service"]),
        (WRITE, Place(kind="link", target="/x"), [f"{UNIT} is a link to /x, which is not dynod's: remove it"]),
        (LINK, Place(kind="nothing"), []),
        (LINK, Place(kind="link", target=LINK.target, refused=REFUSED), []),
        (LINK, Place(kind="link", target="/opt/dynod/1.0/bin/dynod"), []),
        (
            LINK,
            Place(kind="link", target="/srv/venv/bin/dynod"),
            ["/usr/local/bin/dynod is a link to /srv/venv/bin/dynod, and was not made by dynod: move it away"],
        ),
        (LINK, Place(kind="file"), ["/usr/local/bin/dynod is there, and was not made by dynod: move it away"]),
        (CURRENT, Place(kind="link", target="1.0"), []),
        (CURRENT, Place(kind="link", target="1.0", refused="no"), ["no"]),
        (Remove(path=UNIT), Place(kind="nothing", refused=REFUSED), []),
        (Remove(path=UNIT), Place(kind="file", refused=REFUSED), [REFUSED]),
        (Run(argv=("true",)), Place(kind="other", refused=REFUSED), []),
    ],
)
def test_a_step_is_done_only_where_it_hurts_nobody(step: Step, place: Place, told: list[str]) -> None:
    assert obstacles([step], VM, lambda _path: place) == told


def test_everything_is_told_at_once_and_once() -> None:
    steps: list[Step] = [WRITE, WriteFile(path="/etc/systemd/system/dynod.socket", text=""), LINK]
    assert obstacles(steps, VM, lambda path: Place(kind="nothing", refused=path.rpartition("/")[0])) == [
        "/etc/systemd/system",
        "/usr/local/bin",
    ]


def test_a_port_that_is_taken_is_told_with_who_has_it() -> None:
    (told,) = ports([TakenPort(address="0.0.0.0:80", by="nginx, pid 7"), TakenPort(address="[::]:80")])
    assert told.startswith("another program listens on 0.0.0.0:80 (nginx, pid 7), [::]:80: stop it, or")
    assert ports([]) == []
