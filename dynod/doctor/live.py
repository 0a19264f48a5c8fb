"""The live half of the examination: one formation, a sequence of probes, their observations judged by the core.

    first dyno alone: boot, port, a marked request, slow clients
      └ a second one beside it
          └ at once, each on a dyno of its own: code folder (a third one) · SIGTERM with requests in flight · SIGKILL

Where there is no second one the last three run one after the other. The order keeps each probe from being the reason of
another's finding: nothing is asked of a dyno before all that it rests on was answered.
"""

import contextlib
import random
import re
import signal
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from dynod.core import boot, doctor_live
from dynod.core.boot import Address
from dynod.core.doctor import LIVE, Check, Ledger
from dynod.core.doctor_live import (
    Boot,
    BootSeen,
    CodeFolderSeen,
    Hold,
    KillSeen,
    LogsSeen,
    SecondSeen,
    SlowSeen,
    StopSeen,
)
from dynod.core.doctor_time import OUT_OF_TIME, OutOfTimeError, TimeLeft
from dynod.doctor import running
from dynod.doctor.client import Answer, Burst, SlowClient, ask
from dynod.doctor.formation import READ_ONLY, WEB, Formation
from dynod.doctor.scratch import Scratch
from dynod.errors import DynodError

FIRST: Final = f"{WEB}.1"
SECOND: Final = f"{WEB}.2"
THIRD: Final = f"{READ_ONLY}.1"
ANSWER_S: Final = 10.0  # for a first request, which may load and compile much
SLOW_S: Final = 3.0  # how long a slow client may keep others waiting; at least, and three times what an answer takes
SLOW_TIMES: Final = 2  # a machine that hung for a moment is no reason for a finding: it has to show again
LEAST_BOOT_S: Final = 20.0  # whoever had less time to boot in, and less than its own limit, is not blamed
AFTER_BOOT_S: Final = 6.0  # of the time, kept for what is asked of an app that takes all there is to boot
LOOK_S: Final = 0.05
LINE_S: Final = 0.2  # more than that, so that a line which is late is seen to be
CAUSE_S: Final = 0.5  # the line that explains an exit follows it at once
IN_FLIGHT_S: Final = 8.0  # to catch a request in flight, by trying
SOONER: Final = 0.7  # the next moment, as a share of the last, where all were answered by then
LATER: Final = 1.4  # where none was read yet
SOONEST_S: Final = 0.0002
AT_ONCE: Final = 8  # requests in a burst
STOP_CHECKS: Final = (Check.IN_FLIGHT, Check.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds; the app's own settings, by default Heroku's. `time_left`: for probes."""

    boot_s: float
    grace_s: float
    time_left: TimeLeft


class LiveExamination:
    """`run` once. What is found goes to the ledger."""

    def __init__(self, formation: Formation, scratch: Scratch, ledger: Ledger, limits: Limits) -> None:
        self._formation = formation
        self._scratch = scratch
        self._ledger = ledger
        self._limits = limits
        self._time = limits.time_left
        self._mark = uuid.uuid4().hex[:16]
        self._boot_s = 0.0
        self._usual = Answer(status=0, took_s=0.0)
        self._asked_to_end_at: float | None = None
        self._log_files: set[str] = set()

    def run(self) -> None:
        """All probes. The end of the formation is the caller's, and `judge_at_end` after it."""
        self._in_time(LIVE, self._all_of_it)

    def _in_time(self, checks: Collection[Check], probe: Callable[[], None]) -> None:
        """A probe; where the time ends in its midst, its checks were not asked."""
        try:
            probe()
        except OutOfTimeError:
            self._ledger.not_asked(checks, OUT_OF_TIME)
        except DynodError:
            if self._time.seconds() > 0:
                raise
            self._ledger.not_asked(checks, OUT_OF_TIME)  # `dynod up` had no time to answer either

    def _all_of_it(self) -> None:
        seen = self._first_boot()
        self._boot_s = seen.after_s
        address = _address(seen)
        if seen.how is Boot.UP and address is not None:
            answer = self._ask(Address("127.0.0.1", self._formation.port), ANSWER_S, mark=self._mark)
            direct = self._ask(address, ANSWER_S) if answer is not None else None
            if answer is None or direct is None:
                seen = _without_answer(seen)
            else:
                self._usual = direct
        self._judge_boot(seen)
        if seen.how is not Boot.UP or not seen.answered or address is None:
            self._ledger.not_asked(LIVE, "it has to boot, listen on its PORT and answer for that")
            return
        self._slow_clients(address)
        self._log_files |= set(running.log_files(self._formation.processes(FIRST)))
        stop = partial(self._in_time, STOP_CHECKS, partial(self._stop, FIRST))
        if self._second():
            kill = partial(self._in_time, [Check.SIGKILL], partial(self._kill, SECOND))
            self._side_by_side([partial(self._in_time, [Check.CODE_FOLDER], self._code_folder), stop, kill])
        else:
            self._ledger.not_asked([Check.CODE_FOLDER], "that takes a second instance, which does not run")
            self._formation.scale(WEB, 1)
            self._in_time([Check.SIGKILL], partial(self._kill, FIRST))
            stop()

    def judge_at_end(self) -> None:
        """What only a whole log and a folder that nobody writes to any more can tell."""
        log = self._formation.log
        if self._usual.status == 0:
            return
        mark = re.escape(self._mark)
        routed = log.line(rf" heroku\[router\]: .*{mark}")
        told = log.line(rf" app\[{re.escape(FIRST)}\]: .*{mark}")
        late = told.at - routed.at if told is not None and routed is not None else None
        ended = self._asked_to_end_at
        only_at_end = told is not None and ended is not None and told.at >= ended
        written = self._scratch.written()
        files = {name for name in written if doctor_live.is_log(name)} | self._own_names(self._log_files)
        seen = LogsSeen(late_s=late, only_at_end=only_at_end, files=tuple(sorted(files)))
        measured = "" if told is not None else "no line about a request to go by"
        self._ledger.asked(Check.LOGS, doctor_live.judge_logs(seen, dyno=FIRST), measured=measured)

    # --- one probe each -----------------------------------------------------------------------------------------------

    def _first_boot(self) -> BootSeen:
        began = time.monotonic()
        log, state = self._formation.log, rf"heroku\[{re.escape(FIRST)}\]: "
        ended = rf"{state}(?:Process exited with status (?P<status>\d+)|State changed from starting to crashed)"
        up = rf"{state}State changed from starting to (?P<up>up)$"
        elsewhere = rf"{state}{re.escape(FIRST)} listens on .*(?P<elsewhere>, PORT is) \d+"
        started = log.wait(rf"{state}Starting process", until=began + self._time.need())
        if started is None:
            if not self._formation.has_ended:
                self._time.need()  # the release process takes long
            refused = log.last(r"^dynod: (.*)")
            cause = refused[1] if refused is not None else ""
            return BootSeen(how=Boot.EXITED, after_s=0.0, limit_s=self._limits.boot_s, cause=cause)
        launched = log.line(rf"{state}Starting process")
        launched_at = launched.at if launched is not None else began
        limit = self._time.keeping(AFTER_BOOT_S).within(self._limits.boot_s)
        found = log.wait(rf"{ended}|{up}|{elsewhere}", until=launched_at + limit)
        after = time.monotonic() - launched_at
        if found is None and limit < min(LEAST_BOOT_S, self._limits.boot_s):
            raise OutOfTimeError
        if found is None:
            return BootSeen(how=Boot.NOT_IN_TIME, after_s=after, limit_s=self._limits.boot_s)
        processes = self._formation.processes(FIRST)
        port, places = running.port_of(processes), running.listening(processes)
        if found["up"]:
            return BootSeen(how=Boot.UP, after_s=after, limit_s=self._limits.boot_s, port=port, listens=places)
        if found["elsewhere"]:
            return BootSeen(how=Boot.ELSEWHERE, after_s=after, limit_s=self._limits.boot_s, port=port, listens=places)
        told = log.wait(rf"{state}Cause: (.*)", until=time.monotonic() + CAUSE_S)
        return BootSeen(
            how=Boot.EXITED,
            after_s=after,
            limit_s=self._limits.boot_s,
            status=int(found["status"]) if found["status"] else None,
            cause=told[1] if told is not None else "",
            last=log.last_of(FIRST),
        )

    def _judge_boot(self, seen: BootSeen) -> None:
        self._ledger.asked(Check.BOOT, doctor_live.judge_boot(seen, dyno=FIRST), measured=f"{seen.after_s:.1f} s")
        if seen.how in {Boot.UP, Boot.ELSEWHERE}:
            self._ledger.asked(Check.PORT, doctor_live.judge_port(seen, dyno=FIRST))

    def _slow_clients(self, address: Address) -> None:
        wait_s = max(SLOW_S, 3 * self._usual.took_s)
        seen = []
        for hold in Hold:
            for _ in range(SLOW_TIMES):
                found = self._while_slow(address, hold, wait_s)
                if found is None or found.answered_meanwhile:
                    break
            if found is not None:
                seen.append(found)
        self._ledger.asked(Check.SLOW_CLIENTS, doctor_live.judge_slow(seen, dyno=FIRST))

    def _while_slow(self, address: Address, hold: Hold, wait_s: float) -> SlowSeen | None:
        """Ask while one client is slow, and again once it has left; None where there could be no such client."""
        try:
            with SlowClient(address, hold, timeout_s=self._time.within(wait_s)):
                meanwhile = self._ask(address, wait_s) is not None
        except OSError:
            self._time.need()
            return None
        afterwards = meanwhile or self._ask(address, wait_s) is not None
        return SlowSeen(hold=hold, answered_meanwhile=meanwhile, answered_afterwards=afterwards, waited_s=wait_s)

    def _second(self) -> bool:
        """Whether a second dyno runs beside the first one."""
        since = len(self._formation.log)
        self._formation.scale(WEB, 2)
        up = self._up_again(SECOND, since)
        address = self._where(SECOND) if up else None
        answers = address is not None and self._ask(address, ANSWER_S) is not None
        first = self._where(FIRST)
        first_answers = first is not None and self._ask(first, ANSWER_S) is not None
        seen = SecondSeen(
            up=up, answers=answers, first_answers=first_answers, last="" if up else self._formation.log.last_of(SECOND)
        )
        self._ledger.asked(Check.SECOND, doctor_live.judge_second(seen, first=FIRST, second=SECOND))
        return up and answers and first_answers

    def _code_folder(self) -> None:
        if not self._formation.has_read_only:
            written = [name for name in self._scratch.written() if not doctor_live.is_cache(name)]
            why = f"it writes {written[0]}; whether it needs to" if written else "whether it needs one"
            self._ledger.not_asked([Check.CODE_FOLDER], f"{why} can be seen with bubblewrap alone")
            return
        since = len(self._formation.log)
        self._formation.scale(READ_ONLY, 1)
        until = time.monotonic() + self._time.within(self._limits.boot_s)
        exited = rf"heroku\[{re.escape(THIRD)}\]: (?:Process exited|State changed from .* to crashed)"
        address = None
        while address is None and time.monotonic() < until and self._formation.log.find(exited, since=since) is None:
            time.sleep(LOOK_S)  # a listen(2) announces itself to nobody
            address = self._where(THIRD)
        gone = self._formation.log.find(exited, since=since) is not None
        if address is None and not gone:
            self._time.need()
        answer = self._ask(address, ANSWER_S) if address is not None else None
        broken = answer is not None and answer.status >= 500 > self._usual.status  # noqa: PLR2004 (server errors)
        how = f"answers {answer.status} to GET /" if broken and answer is not None else "does not come up"
        last = self._formation.log.last_of(THIRD)
        self._formation.scale(READ_ONLY, 0)
        seen = CodeFolderSeen(
            written=self._scratch.written(), read_only=answer is not None and not broken, how=how, last=last
        )
        self._ledger.asked(Check.CODE_FOLDER, doctor_live.judge_code_folder(seen))

    def _stop(self, dyno: str) -> None:
        """SIGTERM to all of a dyno, as the platform sends it, while requests are in flight if they can be caught."""
        self._give_lines_time()
        address = self._where(dyno)
        if address is None:
            self._ledger.not_asked([Check.IN_FLIGHT, Check.SIGTERM], "it no longer listened when their turn came")
            return
        processes = self._formation.processes(dyno)
        self._log_files |= set(running.log_files(processes))
        limit = self._time.within(self._limits.grace_s)
        caught = self._terminate_in_flight(processes, address, limit)
        if caught is None:
            self._asked_to_end_at = time.monotonic()
            running.signal_all(processes, signal.SIGTERM)
            self._ledger.not_asked([Check.IN_FLIGHT], "no request was caught in flight: all were answered too fast")
        began = self._asked_to_end_at or time.monotonic()
        in_flight, answered = caught or (None, 0)
        gone = running.wait_until_gone(processes, limit - (time.monotonic() - began))
        self._formation.ignores_sigterm |= not gone
        seen = StopSeen(
            ended_s=time.monotonic() - began if gone else None,
            limit_s=self._limits.grace_s,
            in_flight=in_flight,
            answered=answered,
        )
        findings = list(doctor_live.judge_stop(seen, dyno=dyno))
        if caught is not None and answered < caught[0] and self._time.seconds() <= 0:
            self._ledger.not_asked([Check.IN_FLIGHT], OUT_OF_TIME)
        elif caught is not None:
            about = [finding for finding in findings if finding.check is Check.IN_FLIGHT]
            self._ledger.asked(Check.IN_FLIGHT, about, measured=f"{answered} of {in_flight} answered")
        if not gone and limit < self._limits.grace_s:
            self._ledger.not_asked([Check.SIGTERM], f"{OUT_OF_TIME}: it still ran after {limit:.0f} s")
        else:
            about = [finding for finding in findings if finding.check is Check.SIGTERM]
            self._ledger.asked(Check.SIGTERM, about, measured=f"{seen.ended_s:.1f} s" if gone else "")

    def _terminate_in_flight(
        self, processes: Sequence[psutil.Process], address: Address, limit_s: float
    ) -> tuple[int, int] | None:
        """(in flight, answered) where SIGTERM was sent to a dyno that stood still with requests in flight."""
        until = time.monotonic() + self._time.within(IN_FLIGHT_S)
        moment_s = self._usual.took_s
        while time.monotonic() < until:
            with contextlib.suppress(OSError), Burst(address, AT_ONCE, timeout_s=self._time.within(SLOW_S)) as burst:
                burst.send()
                moment = random.uniform(0, 2 * moment_s)  # noqa: S311 (no secret: somewhere in their midst)
                burst.wait(self._time.within(moment))
                with running.frozen(processes) as stand:
                    unanswered = burst.unanswered() if stand else set()
                    caught = running.whole_read(unanswered, burst.port) & burst.unanswered() if unanswered else set()
                    if caught:
                        running.signal_all(processes, signal.SIGTERM)
                        self._asked_to_end_at = time.monotonic()
                if caught:
                    return len(caught), burst.answered(caught, time.monotonic() + limit_s)
                moment_s = max(moment_s * (LATER if unanswered else SOONER), SOONEST_S)
                burst.wait(self._time.within(SLOW_S))
        return None

    def _kill(self, dyno: str) -> None:
        processes = self._formation.processes(dyno)
        since = len(self._formation.log)
        running.signal_all(processes, signal.SIGSTOP)  # so that none forks meanwhile
        running.signal_all(processes, signal.SIGKILL)
        state = rf"heroku\[{re.escape(dyno)}\]: "
        until = time.monotonic() + self._time.within(self._limits.boot_s)
        self._formation.log.wait(rf"{state}Process exited", since=since, until=until)
        killed = self._formation.log.number(rf"{state}Process exited", since=since)
        up = self._up_again(dyno, since if killed is None else killed + 1)
        seen = KillSeen(up=up, limit_s=self._limits.boot_s, last="" if up else self._formation.log.last_of(dyno))
        self._ledger.asked(Check.SIGKILL, doctor_live.judge_kill(seen, dyno=dyno))

    # --- what probes share --------------------------------------------------------------------------------------------

    def _side_by_side(self, probes: Sequence[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(max_workers=len(probes), thread_name_prefix="probe") as pool:
            for probe in [pool.submit(each) for each in probes]:
                probe.result()

    def _up_again(self, dyno: str, since: int) -> bool:
        """Whether a dyno comes up. Raises OutOfTimeError where there was less time than it may take."""
        state = rf"heroku\[{re.escape(dyno)}\]: "
        found = self._formation.log.wait(
            rf"{state}(?:State changed from starting to (?P<up>up)$|Process exited)",
            since=since,
            until=time.monotonic() + self._time.within(self._limits.boot_s),
        )
        if found is None:
            self._time.need()
        return found is not None and found["up"] is not None

    def _where(self, dyno: str) -> Address | None:
        """Where to connect to a dyno, once it listens on its PORT."""
        processes = self._formation.processes(dyno)
        port = running.port_of(processes)
        if port is None:
            return None
        verdict = boot.judge(port=port, own=running.listening(processes), strangers=(), elapsed_s=0, timeout_s=1)
        return verdict.address if isinstance(verdict, boot.Listening) else None

    def _give_lines_time(self) -> None:
        """A line about the marked request that has not come yet is given time before the dyno is asked to end."""
        log, mark = self._formation.log, re.escape(self._mark)
        if (routed := log.line(rf" heroku\[router\]: .*{mark}")) is not None:
            until = min(routed.at + doctor_live.LATE_LINE_S + LINE_S, self._time.ends_at)
            log.wait(rf" app\[{re.escape(FIRST)}\]: .*{mark}", until=until)

    def _own_names(self, files: set[str]) -> set[str]:
        """Log files as their names should be read: relative to the code folder where they lie in it."""
        folder = self._scratch.folder
        named = set()
        for file in files:
            path = Path(file)
            named.add(str(path.relative_to(folder)) if path.is_relative_to(folder) else file)
        return named

    def _ask(self, address: Address, wanted_s: float, *, mark: str = "") -> Answer | None:
        """GET /; None where none came. Raises OutOfTimeError where there was not the time to tell."""
        answer = ask(address, mark=mark, timeout_s=self._time.within(wanted_s))
        if answer is None:
            self._time.need()
        return answer


def _address(seen: BootSeen) -> Address | None:
    if seen.port is None:
        return None
    verdict = boot.judge(port=seen.port, own=seen.listens, strangers=(), elapsed_s=0, timeout_s=1)
    return verdict.address if isinstance(verdict, boot.Listening) else None


def _without_answer(seen: BootSeen) -> BootSeen:
    return BootSeen(
        how=seen.how, after_s=seen.after_s, limit_s=seen.limit_s, port=seen.port, listens=seen.listens, answered=False
    )
