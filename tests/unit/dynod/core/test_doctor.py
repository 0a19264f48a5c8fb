"""What the doctor makes of what was seen: each judgement by a table; the score; the report in its three forms."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core import doctor_live, doctor_report
from dynod.core.boot import Address
from dynod.core.doctor import ABOUT, LIVE, Check, Examination, Finding, Ledger, Verdict
from dynod.core.doctor_live import Boot, BootSeen, CodeFolderSeen, Hold, LogsSeen, SlowSeen, StopSeen

UP = BootSeen(how=Boot.UP, after_s=1, limit_s=60, port=20000, listens=(Address("0.0.0.0", 20000),))


def test_every_check_is_about_a_factor_and_most_need_a_dyno() -> None:
    assert set(ABOUT) == set(Check)
    assert set(Check) - set(LIVE) == {Check.APP_FILES, Check.DEPENDENCIES, Check.SECRETS}


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        (["0.0.0.0"], False),
        (["::"], False),
        (["127.0.0.1"], True),
        (["127.0.0.1", "::1"], True),
        (["::ffff:127.0.0.1"], True),
        (["127.0.0.1", "10.0.0.7"], False),
    ],
)
def test_loopback_alone_is_a_finding(hosts: list[str], found: bool) -> None:
    seen = replace(UP, listens=tuple(Address(host, 20000) for host in hosts))
    assert bool(list(doctor_live.judge_port(seen, dyno="web.1"))) is found
    elsewhere = replace(seen, how=Boot.ELSEWHERE, listens=(Address("0.0.0.0", 8000),))
    (finding,) = doctor_live.judge_port(elsewhere, dyno="web.1")
    assert finding.what == "it listens on 0.0.0.0:8000, and its PORT is 20000"
    assert not list(doctor_live.judge_boot(elsewhere, dyno="web.1"))


@pytest.mark.parametrize(
    ("meanwhile", "afterwards", "found"),
    [(True, True, False), (False, True, True), (False, False, False)],  # the last: it hangs, whoever is slow
)
def test_a_slow_client_is_the_reason_only_if_all_is_well_without_it(
    meanwhile: bool, afterwards: bool, found: bool
) -> None:
    seen = SlowSeen(hold=Hold.UPLOAD, answered_meanwhile=meanwhile, answered_afterwards=afterwards, waited_s=3)
    assert bool(list(doctor_live.judge_slow([seen], dyno="web.1"))) is found


FOLDERS = [
    # written, works read-only → None: nothing, True: a note, False: a failure
    ((), True, None),
    ((), False, False),
    (("uploads/a",), False, False),
    (("uploads/a",), True, None),  # it does without
    (("__pycache__/a.pyc", "a/__pycache__/b.pyc"), True, None),
    (("db.sqlite3",), True, True),
    (("db.sqlite3", "db.sqlite3-wal"), False, True),
    (("db.sqlite3", "uploads/a"), False, False),
    (("log/web.log",), False, None),  # the other check's business
]


@pytest.mark.parametrize(("written", "read_only", "note"), FOLDERS)
def test_a_code_folder_is_needed_where_the_app_fails_without(
    written: tuple[str, ...], read_only: bool, note: bool | None
) -> None:
    found = list(doctor_live.judge_code_folder(CodeFolderSeen(written=written, read_only=read_only)))
    assert [finding.note for finding in found] == ([] if note is None else [note])


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (LogsSeen(), []),
        (LogsSeen(late_s=0.1), []),
        (LogsSeen(late_s=1.9, only_at_end=True), []),
        (LogsSeen(late_s=2.5, only_at_end=True), ["only when the process ended"]),
        (LogsSeen(late_s=4.0), ["4 s late"]),
        (LogsSeen(files=("web.log",)), ["it logs to web.log"]),
    ],
)
def test_a_log_is_late_or_elsewhere(seen: LogsSeen, words: list[str]) -> None:
    found = list(doctor_live.judge_logs(seen, dyno="web.1"))
    assert len(found) == len(words)
    assert all(word in finding.what for word, finding in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("ended_s", "in_flight", "answered", "checks"),
    [
        (0.1, 2, 2, []),
        (0.1, None, 0, []),
        (0.1, 2, 1, [Check.IN_FLIGHT]),
        (None, 2, 2, [Check.SIGTERM]),
        (None, 1, 0, [Check.SIGTERM, Check.IN_FLIGHT]),
    ],
)
def test_sigterm_is_obeyed_and_answers_are_finished(
    ended_s: float | None, in_flight: int | None, answered: int, checks: list[Check]
) -> None:
    seen = StopSeen(ended_s=ended_s, limit_s=30, in_flight=in_flight, answered=answered)
    assert [finding.check for finding in doctor_live.judge_stop(seen, dyno="web.1")] == checks


# --- score and report -------------------------------------------------------------------------------------------------

# What programs go by: to change a name is to break them.
NAMES = ["app-files", "dependencies", "secrets", "boot", "port", "second-instance", "slow-clients", "code-folder"]
NAMES += ["logs", "in-flight", "sigterm", "sigkill"]
BAD = Finding(check=Check.PORT, what='listens on "<8000>"\x00', where="web.1", to_do="use PORT")
NOTE = replace(BAD, check=Check.CODE_FOLDER, what="db.sqlite3 holds data", note=True)


def examination(*findings: Finding, unasked: tuple[Check, ...] = ()) -> Examination:
    ledger = Ledger()
    for check in Check:
        if check not in unasked:
            ledger.asked(check, [finding for finding in findings if finding.check is check], measured="1 s")
    ledger.not_asked(unasked, "no web process")
    ledger.not_asked(Check, "what was asked stays asked")
    return Examination(app="shop", folder="/srv/shop", results=ledger.results(), took_s=4.2)


# Jenkins' schema for JUnit (xunit plugin, junit-10.xsd), of what is used here: attributes that have to be there, others
# that may be, and children.
JUNIT = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"time", "skipped", "timestamp", "hostname", "id", "package"},
        {"testcase", "properties", "system-out"},
    ),
    "testcase": ({"name"}, {"time", "classname", "group"}, {"skipped", "error", "failure", "system-out"}),
    "failure": (set(), {"type", "message"}, set()),
    "skipped": (set(), {"type", "message"}, set()),
    "system-out": (set(), set(), set()),
}


def assert_valid(element: ET.Element) -> None:
    required, optional, children = JUNIT[element.tag]
    assert required <= set(element.keys()) <= required | optional, element.tag
    assert re.fullmatch(r"\d{0,3}(\.\d*)?", element.get("time", ""))
    assert {child.tag for child in element} <= children
    for child in element:
        assert_valid(child)


@given(st.sets(st.sampled_from(Check)), st.sets(st.sampled_from(Check)))
def test_the_score_counts_each_check_once(bad: set[Check], unasked: set[Check]) -> None:
    given_ = examination(*(replace(BAD, check=check) for check in bad), unasked=tuple(unasked))
    failed = bad - unasked
    assert (given_.passed, given_.asked) == (12 - len(unasked | failed), 12 - len(unasked))
    assert given_.is_sound is not bool(failed)
    root = ET.fromstring(doctor_report.junit(given_))
    assert_valid(root)
    suite = root[0]
    assert suite.get("failures") == str(len(suite.findall("testcase/failure"))) == str(len(failed))
    assert suite.get("skipped") == str(len(suite.findall("testcase/skipped"))) == str(len(unasked))
    assert len(suite.findall("testcase")) == 12


def test_the_report_for_people() -> None:
    given_ = examination(BAD, NOTE, unasked=(Check.SIGKILL,))
    lines = [line for _, line in doctor_report.lines(given_)]
    assert "✗ VII. Port binding       listens on $PORT, on every interface" in lines
    assert '    web.1: listens on "<8000>"\x00' in lines
    assert "    → use PORT" in lines
    assert "    note: web.1: db.sqlite3 holds data" in lines
    assert "- IX. Disposability       not checked: comes back after SIGKILL (no web process)" in lines
    assert lines[-1] == "10 of 11 checks passed, 1 problem, 1 not checked (4 s)"
    assert {verdict for verdict, _ in doctor_report.lines(given_)} == {None, *Verdict}


def test_the_reports_for_programs() -> None:
    given_ = examination(BAD, NOTE)
    document = json.loads(json.dumps(doctor_report.document(given_)))
    assert list(document) == ["app", "folder", "ok", "score", "took_s", "checks"]
    assert [check["check"] for check in document["checks"]] == NAMES
    assert {tuple(check) for check in document["checks"]} == {
        ("check", "factor", "holds", "verdict", "why", "findings")
    }
    port = next(check for check in document["checks"] if check["check"] == "port")
    assert port["verdict"] == "failed"
    assert port["findings"] == [{"what": BAD.what, "where": "web.1", "to_do": "use PORT", "note": False}]
    assert (document["ok"], document["score"]) == (False, {"passed": 11, "checked": 12, "checks": 12})
    failure = ET.fromstring(doctor_report.junit(given_)).find(".//failure")
    assert failure is not None
    assert failure.get("message") == 'listens on "<8000>"\ufffd'
