"""What `dynod doctor` checks, what it can find, and the score: values only.

The first of four stops: checks (here) → judgements of what was seen (`doctor_live`, `secret_text`, `declared_packages`)
→ report (`doctor_report`). What is seen, and by which probe, is the business of `dynod.doctor`. Pure.

The factors are those of https://12factor.net; each check says which of them it is about. A check is one question that
an app answers with yes or no; where it could not be asked, that is said, and it counts for nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class Check(StrEnum):
    """The questions, in the order in which the report has them. The value is the stable name for programs."""

    APP_FILES = "app-files"
    DEPENDENCIES = "dependencies"
    SECRETS = "secrets"
    BOOT = "boot"
    PORT = "port"
    SECOND = "second-instance"
    SLOW_CLIENTS = "slow-clients"
    CODE_FOLDER = "code-folder"
    LOGS = "logs"
    IN_FLIGHT = "in-flight"
    SIGTERM = "sigterm"
    SIGKILL = "sigkill"


class About(NamedTuple):
    """The factor that a check is about, and what holds for an app that passes."""

    factor: str
    holds: str


ABOUT: Final[Mapping[Check, About]] = {
    Check.APP_FILES: About("V. Build, release, run", "Procfile, app.json and .env are sound"),
    Check.DEPENDENCIES: About("II. Dependencies", "what it imports is declared"),
    Check.SECRETS: About("III. Config", "its code holds no secrets"),
    Check.BOOT: About("IX. Disposability", "boots within the limit and answers"),
    Check.PORT: About("VII. Port binding", "listens on $PORT, on every interface"),
    Check.SECOND: About("VIII. Concurrency", "runs beside a second instance of itself"),
    Check.SLOW_CLIENTS: About("VIII. Concurrency", "serves others while a client is slow"),
    Check.CODE_FOLDER: About("VI. Processes", "needs no writable code folder"),
    Check.LOGS: About("XI. Logs", "logs to stdout, at once"),
    Check.IN_FLIGHT: About("IX. Disposability", "finishes requests in flight on SIGTERM"),
    Check.SIGTERM: About("IX. Disposability", "ends within the limit on SIGTERM"),
    Check.SIGKILL: About("IX. Disposability", "comes back after SIGKILL"),
}
LIVE: Final = tuple(check for check in Check if check not in {Check.APP_FILES, Check.DEPENDENCIES, Check.SECRETS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: what, where (a file with its line, a dyno, an address), and what to do about it.

    A `note` is worth knowing and fails nothing: in production it may well be otherwise.
    """

    check: Check
    what: str
    where: str
    to_do: str
    note: bool = False


class Verdict(StrEnum):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One check: its verdict, and its findings. `why` it was not checked, or what was measured where it passed."""

    check: Check
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """All of it, in the order of `Check`."""

    app: str
    folder: str
    results: tuple[Result, ...]
    took_s: float

    @property
    def passed(self) -> int:
        """How many checks passed."""
        return sum(result.verdict is Verdict.PASSED for result in self.results)

    @property
    def asked(self) -> int:
        """Of how many."""
        return sum(result.verdict is not Verdict.NOT_CHECKED for result in self.results)

    @property
    def is_sound(self) -> bool:
        """Whether nothing failed; what was not checked is said, and is no failure."""
        return all(result.verdict is not Verdict.FAILED for result in self.results)


class Ledger:
    """Collects what was found and what could not be asked; a check without either has passed once it was asked."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._asked: dict[Check, str] = {}
        self._not_asked: dict[Check, str] = {}

    def asked(self, check: Check, findings: Iterable[Finding] = (), *, measured: str = "") -> None:
        """The question was asked, and this is what was found. What another probe finds about it is added."""
        self._asked[check] = measured or self._asked.get(check, "")
        self._findings += findings

    def not_asked(self, checks: Iterable[Check], why: str) -> None:
        """The questions could not be asked; the first reason stays, and an answer that is there already counts."""
        for check in checks:
            self._not_asked.setdefault(check, why)

    def results(self) -> tuple[Result, ...]:
        """Every check once."""
        return tuple(map(self._result, Check))

    def _result(self, check: Check) -> Result:
        findings = tuple(finding for finding in self._findings if finding.check is check)
        if any(not finding.note for finding in findings):
            return Result(check=check, verdict=Verdict.FAILED, findings=findings)
        if check in self._asked:
            return Result(check=check, verdict=Verdict.PASSED, findings=findings, why=self._asked[check])
        why = self._not_asked.get(check, "nobody asked")
        return Result(check=check, verdict=Verdict.NOT_CHECKED, findings=findings, why=why)
