"""The report of `dynod doctor`: for people, as JSON, as JUnit's XML for CI. Pure; the last stop of `core/doctor`."""

import re
from collections.abc import Iterator
from html import escape
from typing import Final

from dynod.core.doctor import ABOUT, Examination, Finding, Result, Verdict

MARKS: Final = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.NOT_CHECKED: "-"}
_NOT_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2


def lines(examination: Examination) -> Iterator[tuple[Verdict | None, str]]:
    """Line by line, each with the verdict that it shows, for colours."""
    factors = max(len(about.factor) for about in ABOUT.values())
    yield None, f"{examination.app}: the twelve factors, as far as they can be checked"
    for result in examination.results:
        about = ABOUT[result.check]
        why = f" ({result.why})" if result.why and result.verdict is not Verdict.FAILED else ""
        unasked = " not checked:" if result.verdict is Verdict.NOT_CHECKED else ""
        yield result.verdict, f"{MARKS[result.verdict]} {about.factor:<{factors}} {unasked} {about.holds}{why}"
        for finding in result.findings:
            kind = "note: " if finding.note else ""
            yield None, f"    {kind}{finding.where}: {finding.what}"
            yield None, f"    → {finding.to_do}"
    yield None, ""
    yield None, summary(examination)


def summary(examination: Examination) -> str:
    """`11 of 12 checks passed, 1 problem, 2 not checked (14 s)`."""
    problems = sum(not finding.note for result in examination.results for finding in result.findings)
    unasked = len(examination.results) - examination.asked
    parts = [f"{examination.passed} of {examination.asked} checks passed"]
    parts += [f"{problems} problem{'' if problems == 1 else 's'}"] if problems else []
    parts += [f"{unasked} not checked"] if unasked else []
    return f"{', '.join(parts)} ({examination.took_s:.0f} s)"


def document(examination: Examination) -> dict[str, object]:
    """For `--json`."""
    return {
        "app": examination.app,
        "folder": examination.folder,
        "ok": examination.is_sound,
        "score": {"passed": examination.passed, "checked": examination.asked, "checks": len(examination.results)},
        "took_s": round(examination.took_s, 1),
        "checks": [_check(result) for result in examination.results],
    }


def junit(examination: Examination) -> str:
    """One test suite, each check one test case; notes are its output. Valid by Jenkins' junit-10.xsd."""
    failed = sum(result.verdict is Verdict.FAILED for result in examination.results)
    skipped = len(examination.results) - examination.asked
    numbers = f'tests="{len(examination.results)}" failures="{failed}" errors="0" skipped="{skipped}"'
    head = (
        f'<testsuite name="dynod doctor" hostname="{_xml(examination.app)}" {numbers} time="{examination.took_s:.1f}">'
    )
    cases = "\n".join(_case(result) for result in examination.results)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n{head}\n{cases}\n</testsuite>\n</testsuites>\n'


def _check(result: Result) -> dict[str, object]:
    about = ABOUT[result.check]
    return {
        "check": result.check.value,
        "factor": about.factor,
        "holds": about.holds,
        "verdict": result.verdict.value,
        "why": result.why,
        "findings": [_finding(finding) for finding in result.findings],
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {"what": finding.what, "where": finding.where, "to_do": finding.to_do, "note": finding.note}


def _case(result: Result) -> str:
    about = ABOUT[result.check]
    case = f'<testcase classname="dynod.doctor.{result.check.value}" name="{_xml(f"{about.factor}: {about.holds}")}"'
    told = _xml("\n\n".join(f"{each.where}: {each.what}\n{each.to_do}" for each in result.findings))
    inside = ""
    match result.verdict:
        case Verdict.FAILED:
            first = next(finding for finding in result.findings if not finding.note)
            inside = f'<failure type="{result.check.value}" message="{_xml(first.what)}">{told}</failure>'
        case Verdict.NOT_CHECKED:
            inside = f'<skipped message="{_xml(result.why)}"/>'
        case Verdict.PASSED if told:
            inside = f"<system-out>{told}</system-out>"
    return f"{case}>{inside}</testcase>"


def _xml(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text), quote=True)
