"""What `dynod top` draws, and what its keys do: no terminal, no daemon."""

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.cli import top_text
from dynod.cli.top_screen import keys
from dynod.cli.top_text import Tone
from dynod.cli.top_view import Act, Do, Frame, View
from dynod.core.log_line import LogBatch
from dynod.platform_api.schema import Stats, StatsDyno, StatsTraffic

BUCKETS: Final = 16
KEYS: Final = ("up", "down", "page-up", "end", "enter", "escape", "a", "r", "+", "-", "m", "b", "/", "l", "?", "y", "n")


def traffic(requests: int, failed: int = 0) -> StatsTraffic:
    return {"requests": requests, "failed": failed, "buckets": [requests, *[0] * (BUCKETS - 1)], "in_flight": 0}


def dyno(name: str, *, requests: int = 0, state: str = "up", last: str = "") -> StatsDyno:
    return {
        "name": name,
        "type": name.partition(".")[0],
        "state": state,
        "up_s": 5.0,
        "restarts": 0,
        "memory": 10 * top_text.MB,
        "quota": None,
        "cpu_share": 0.5,
        "processes": 1,
        "traffic": traffic(requests),
        "last": last,
    }


def stats(name: str, *dynos: StatsDyno, undelivered: int = 0, maintenance: bool = False) -> Stats:
    formation: dict[str, int] = {}
    for each in dynos:
        formation[each["type"]] = formation.get(each["type"], 0) + 1
    formation.pop("run", None)
    return {
        "app": {"id": f"id-{name}", "name": name},
        "maintenance": maintenance,
        "release": 3,
        "formation": formation,
        "one_off_dynos": 0,
        "log_lines": 0,
        "dynos": list(dynos),
        "undelivered": traffic(undelivered, undelivered) if undelivered else None,
    }


SHOP: Final = stats("shop", dyno("web.1"), dyno("web.2"), dyno("worker.1"))


def pressed(view: View, *typed: str, shown: tuple[Stats, ...] = (SHOP,)) -> Act | None:
    """What the last of these keys does."""
    act = None
    for key in typed:
        act = view.press(key, shown)
    return act


def drawn(view: View, shown: Stats = SHOP, log: tuple[str, ...] = (), *, height: int = 30, width: int = 100) -> Frame:
    return view.frame(top_text.of_app(shown, None, 1.0), log, width=width, height=height)


@pytest.mark.parametrize(
    ("typed", "act", "question"),
    [
        (["r"], Act(do=Do.RESTART, app="shop", subject="web.1", said="Restarting web.1"), "Restart web.1?"),
        (["end", "+"], Act(do=Do.SCALE, app="shop", subject="worker", value="2", said="Scaling worker to 2"), "to 2?"),
        (["down", "-"], Act(do=Do.SCALE, app="shop", subject="web", value="1", said="Scaling web to 1"), "web to 1?"),
        (["m"], Act(do=Do.MAINTENANCE, app="shop", value="on", said="Maintenance mode is on"), "shop on?"),
    ],
)
def test_what_changes_something_asks_first(typed: list[str], act: Act, question: str) -> None:
    view = View("shop")
    assert pressed(view, *typed) is None
    assert question in drawn(view).lines[-1]
    assert drawn(view).lines[-1].endswith("y/n")
    assert pressed(view, "y") == act
    for other in ("n", "enter", "escape", "q", "r"):
        assert pressed(View("shop"), *typed, other) is None


def test_the_answer_is_about_what_was_asked() -> None:
    """Whatever the table shows by then."""
    view = View("shop")
    pressed(view, "r")
    act = view.press("y", [stats("shop", dyno("api.1"))])
    assert act is not None
    assert act.subject == "web.1"


def test_what_is_chosen_stays_so_where_it_moves_and_its_place_where_it_goes() -> None:
    view = View("shop")
    pressed(view, "down")
    more = stats("shop", dyno("api.1"), dyno("web.1"), dyno("web.2"))
    frame = drawn(view, more)
    assert frame.marked is not None
    assert frame.lines[frame.marked].startswith("web.2")
    assert view.chosen == "web.2"
    drawn(view, stats("shop", dyno("api.1"), dyno("web.1")))
    assert view.chosen == "web.1"
    assert drawn(view, stats("shop")).marked is None


def test_a_one_off_dyno_has_no_scale() -> None:
    view = View("shop")
    shown = stats("shop", dyno("run.1"))
    assert pressed(view, "+", shown=(shown,)) is None
    assert drawn(view, shown).lines[-1] == "run.1 is no dyno of the formation"


def test_a_filter_is_typed_kept_given_up_and_cleared() -> None:
    view = View("shop")
    log = ("12:00:00 app[web.1]: hello there", "12:00:01 app[worker.1]: bye")
    pressed(view, "/", *"hellq", "backspace", "o")
    assert drawn(view, log=log).lines[-1] == "/hello▏"
    assert any(log[1] in line for line in drawn(view, log=log).lines), "not before Enter"
    pressed(view, "enter")
    shown = drawn(view, log=log).lines
    assert log[0] in shown
    assert log[1] not in shown
    pressed(view, "/", "x", "escape")
    assert view.text == "hello"
    pressed(view, "/", "ctrl-w", *"a b", "ctrl-w")
    assert view.typed == "a"
    pressed(view, "ctrl-u", "enter")
    assert log[1] in drawn(view, log=log).lines


def test_the_newest_lines_stay_and_the_log_can_be_off() -> None:
    view = View("shop")
    log = tuple(f"line {number}" for number in range(1000))
    assert drawn(view, log=log).lines[-2] == "line 999"
    pressed(view, "l")
    assert not any(line.startswith(("line", "──")) for line in drawn(view, log=log).lines)


def test_all_apps_are_opened_and_come_back() -> None:
    view = View(None)
    apps = (stats("shop"), stats("blog"))
    assert pressed(view, "r", shown=apps) is None
    assert view.question is None, "which app's?"
    assert pressed(view, "down", "enter", shown=apps) == Act(do=Do.OPEN, app="blog")
    assert pressed(View("blog"), "escape") == Act(do=Do.OVERVIEW)


def test_ctrl_c_leaves_from_anywhere() -> None:
    for before in ([], ["r"], ["/", "a"], ["?"]):
        assert pressed(View("shop"), *before, "ctrl-c") == Act(do=Do.QUIT)


@given(
    st.lists(st.sampled_from(KEYS)),
    st.integers(0, 80),
    st.integers(2, 40),
    st.integers(1, 120),
    st.sampled_from([None, "shop"]),
)
def test_a_frame_fills_the_screen_and_marks_what_is_chosen(
    typed: list[str], dynos: int, height: int, width: int, app: str | None
) -> None:
    shown = stats("shop", *(dyno(f"web.{number}") for number in range(1, dynos + 1)))
    view = View(app)
    for key in typed:
        view.press(key, [shown])
        look = top_text.of_app(shown, None, 1.0) if app is not None else top_text.of_apps([shown], [], 1.0)
        frame = view.frame(look, ["a line"] * 50, width=width, height=height)
        assert len(frame.lines) == height
        assert max(map(len, frame.lines)) <= width
        if frame.marked is not None:
            assert frame.marked < height - 1
            assert frame.lines[frame.marked] == look.rows[look.names.index(view.chosen)][:width]


def test_rates_are_what_has_come_between_two_looks() -> None:
    before = stats("shop", dyno("web.1", requests=100), undelivered=5)
    now = stats("shop", dyno("web.1", requests=140), dyno("web.2", requests=10), undelivered=15)
    look = top_text.of_app(now, before, 2.0)
    assert look.head[0].endswith("30.0 req/s, 5.0 of them 5xx"), "with what reached no dyno"
    assert look.rows[0].split()[4] == "20.0"
    assert top_text.of_apps([now], [before], 2.0).rows[0].split()[4:6] == ["30.0", "5.0"]


def test_an_app_says_what_is_wrong_with_it() -> None:
    bad = dyno("worker.1", state="crashed", last="Cause: there is no command gunicorn")
    look = top_text.of_apps([stats("shop", dyno("web.1"), bad), stats("blog", maintenance=True)], [], 1.0)
    assert "1/2 up" in look.rows[0]
    assert look.rows[0].endswith("worker.1: there is no command gunicorn")
    assert look.rows[1].endswith("maintenance")
    assert look.head[0].startswith("2 apps  2 dynos")


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("abc", ["a", "b", "c"]),
        ("\x1b[A\x1bOBq", ["up", "down", "q"]),
        ("\x1b", ["escape"]),
        ("\x1b[5~\x1b[1;5C\x7f\r", ["page-up", "backspace", "enter"]),
        ("é\x03", ["é", "ctrl-c"]),
    ],
)
def test_keys_are_told_apart(typed: str, found: list[str]) -> None:
    assert keys(typed) == found


@given(st.binary())
def test_nothing_in_a_log_acts_on_the_terminal(written: bytes) -> None:
    batch = LogBatch(time=0.0, source="app", ps="web.1", text=written + b"\n")
    for line in top_text.log_lines(batch, lambda _at: "12:00:00"):
        assert line.startswith("12:00:00 app[web.1]: ")
        assert line.isprintable()


def test_colours_of_a_log_are_left_out() -> None:
    batch = LogBatch(time=0.0, source="app", ps="web.1", text=b"\x1b[31mred\x1b[0m\tdone\x1b]0;title\x07\n")
    assert top_text.log_lines(batch, lambda _at: "-") == ["- app[web.1]: red     done"]


def test_what_is_wrong_is_seen_at_a_glance() -> None:
    """A row's tone goes with it, and what is not current is said for as long as that is so."""
    broken = stats("shop", dyno("web.1"), dyno("web.2", state="crashed"), dyno("worker.1", state="starting"))
    view, look = View("shop"), top_text.of_app(broken, None, 1.0)
    frame = view.frame(look, [], width=80, height=24)
    shown = {frame.lines[number].split()[0]: tone for number, tone in frame.tones.items()}
    assert shown == {"web.1": Tone.PLAIN, "web.2": Tone.BAD, "worker.1": Tone.WARN}
    assert top_text.of_apps([broken, SHOP], [], 1.0).tones == (Tone.BAD, Tone.PLAIN)
    assert top_text.of_apps([stats("blog", maintenance=True)], [], 1.0).tones == (Tone.WARN,)

    view.trouble = "dynod does not answer; trying again"
    pressed(view, "l")
    frame = view.frame(look, [], width=80, height=24)
    assert (frame.lines[-1], frame.tones[23]) == (view.trouble, Tone.BAD), "no key makes it right"
    assert max(view.frame(look, [], width=80, height=3).tones) == 2, "a terminal of a few lines has no other rows"


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (None, list(top_text.TITLES)),
        (200, list(top_text.TITLES)),
        (80, ["DYNO", "STATE", "RESTARTS", "REQ/S", "P95", "CPU", "MEMORY", "LAST"]),
        (10, ["DYNO", "STATE", "RESTARTS", "REQ/S", "P95", "MEMORY", "LAST"]),
    ],
)
def test_a_narrow_terminal_shows_what_went_wrong_rather_than_every_figure(width: int | None, titles: list[str]) -> None:
    crashed = dyno("worker.1", state="crashed", last="Cause: the module flask is not installed")
    look = top_text.of_app(stats("shop", dyno("web.1", requests=4), crashed), None, 1.0, width=width)
    assert re.split(r"\s{2,}", look.titles) == titles
    if width == 80:
        assert "the module flask is not" in look.rows[1][:width]
