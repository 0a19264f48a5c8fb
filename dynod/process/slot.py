"""One slot's life: start, boot, stay up, end, start again. One task a slot, which is the only one to change its state.

Everything that may matter to it (exit, boot verdict, request) sets one event; the task wakes, looks, decides by the
tables of `core`, and acts. Cancelling the task touches no dyno: that is how a core ends that others take over from.
"""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from dynod.core.dyno import InstanceEvent, InstanceState, RestartCause, SlotEvent, SlotState, advance_slot
from dynod.core.incidents import Trouble
from dynod.core.launch import COMMAND_NOT_EXECUTABLE
from dynod.process.asked_restart import AskedRestart
from dynod.process.attachment import R13, Attachment
from dynod.process.boot import Boot
from dynod.process.followed_checks import FollowedChecks
from dynod.process.instance import Ending, Instance, Progress
from dynod.process.last_words import heard_out
from dynod.process.launch import Launcher, LaunchFailedError
from dynod.process.slot_log import Happening, SlotLog
from dynod.process.slot_note import SlotNote, slot_note
from dynod.process.surroundings import Attendant, Command, Surroundings, Trial

CYCLE_SPREAD = 0.15  # Heroku: every 24 h plus up to 216 minutes, so that dynos do not go all at once
STOPPED_EARLY = (COMMAND_NOT_EXECUTABLE, "stopped before it had started")


class Slot:
    """`web.1`. `run` is its task."""

    def __init__(
        self,
        name: str,
        command: Command,
        shared: Surroundings,
        attendant: Attendant,
        *,
        web: bool = False,
        one_off: bool = False,
    ) -> None:
        """`one_off`: it is run once, by `run_once`, and is none of the formation, whatever its type is called."""
        self.name = name
        self.web = web
        self.is_one_off = one_off
        self.command = command
        self.state = SlotState.DOWN
        self.since = shared.clock()  # of the state, seconds since the epoch
        self.instance: Instance | None = None
        self.log = SlotLog(name, shared, one_off=one_off)
        self.restarts: Counter[RestartCause] = Counter()
        self.wanted = True
        self.attachment: Attachment | None = None  # of its next run
        self.awaits_restart = False  # it is one of several that are restarted one after the other
        self._shared = shared
        self._attendant = attendant
        self._replacement: Instance | None = None  # boots beside `instance`
        self._crashes = 0
        self._retry_at = 0.0  # the loop's clock, as Instance.launched
        self._restart = AskedRestart()
        self._trial: Trial | None = None  # of the successor that has been asked for, or runs already
        self._abandoned = False  # the successor is not to take over any more
        self._refused_with = COMMAND_NOT_EXECUTABLE  # the status of its last start, where that failed
        self._changed = asyncio.Event()
        self._checks = FollowedChecks(lambda: self.command, shared, attendant, say=self.log.say, news=self.changed)
        self._launcher = Launcher(
            name,
            lambda: self.command,
            shared,
            say=self.log.say,
            until=self._until,
            wanted=lambda: self.wanted and not self._abandoned,
        )
        self._leave_gate: Callable[[], None] = lambda: None

    @property
    def is_about_to_start(self) -> bool:
        """Wanted and still down, or crashed and tried again at once: a request need not be refused for that moment."""
        if not self.wanted:
            return False
        retries_now = self.state is SlotState.CRASHED and asyncio.get_running_loop().time() >= self._retry_at
        return self.state is SlotState.DOWN or retries_now

    @property
    def is_replaced(self) -> bool:
        """A successor of its instance boots."""
        return self._replacement is not None

    @property
    def attachments(self) -> list[Attachment]:
        """Where somebody may attach: of its next run, of the one that boots, of the one that runs."""
        runs = (self.instance, self._replacement)
        found = [self.attachment, *(run.attachment for run in runs if run is not None)]
        return [each for each in found if each is not None and not each.is_over]

    # --- what others tell it ----------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Something about the slot's instance is new: look."""
        self._changed.set()

    def stop(self, why: str) -> None:
        """Stop the dyno and end the task; a restart that was asked for is no more."""
        if self.wanted:
            self.wanted = False
            self.log.add(why)
            self.awaits_restart = self._restart.asked = False
            self._trial = None
            self._restart.answer(up=False)
        self._changed.set()

    def want(self, why: str) -> None:
        """Wanted again, perhaps while it still stops."""
        if not self.wanted:
            self.wanted = True
            self.log.add(why)
        self._changed.set()

    def restart(
        self, why: str, *, word: str = "Restarting", cause: RestartCause = RestartCause.ASKED
    ) -> asyncio.Future[bool]:
        """Restart the dyno, a web dyno without a gap; the future tells whether the new one came up.

        Asked again meanwhile, what boots is given up for one that starts after now. `word` is Heroku's for the cause,
        and begins the lines about it. A dyno that is to stop, or has, is not restarted.
        """
        if not self.wanted:
            never = self._restart.awaited()
            self._restart.answer(up=False)
            return never
        if not self._restart.asked:
            self.log.add(why)
        waits = self._restart.ask(word, cause)
        self._changed.set()
        return waits

    def change(self, command: Command, why: str, trial: Trial) -> asyncio.Future[bool]:
        """Go over to the command of another release; the future tells whether the new process proved itself.

        One that runs already, since an earlier core started it, goes on with its trial.
        """
        self.command, self._trial = command, trial
        newest = self._replacement or self.instance
        is_new = newest is not None and newest.release == command.release and newest.exit_code is None
        starts_anyway = self.state is SlotState.STARTING and (newest is None or newest.stop_asked)
        return self._awaited() if is_new or starts_anyway else self.restart(why)

    def keep_to(self, command: Command, why: str) -> asyncio.Future[bool]:
        """A change is undone: stay with the old process where it still runs, else start one of the old command.

        The future tells whether one is up.
        """
        self.command, self._trial = command, None
        old = self.instance
        if old is None or old.release != command.release or old.exit_code is not None:
            return self.restart(why)
        self._restart.asked = False
        waits = self._awaited()
        if self._replacement is not None:
            self._abandoned = True
        elif not old.stop_asked:
            self._restart.answer(up=True)
        self._changed.set()
        return waits

    def _awaited(self) -> asyncio.Future[bool]:
        waits = self._restart.awaited()
        if not self.wanted:
            self._restart.answer(up=False)
        self._changed.set()
        return waits

    def await_restart(self, *, awaits: bool) -> None:
        """It is one of several that are restarted one after the other; a core that takes over goes on with that."""
        if self.awaits_restart is not awaits:
            self.awaits_restart = awaits
            self._keep()

    def restore(self, note: str, instances: Sequence[Instance]) -> None:
        """Go on where an earlier core was: its note of the slot, and all that there is of the slot's instances.

        The note names the slot's own and the one that boots to replace it; any other was on its way out.
        """
        noted = slot_note(note)
        self.state, self.since = noted.state, noted.since
        self._crashes, self._retry_at = noted.crashes, noted.retry_at
        self.restarts.update(noted.restarts)
        self.awaits_restart = noted.awaits_restart
        self.log.history.extend(Happening(*each) for each in noted.history)
        for instance in instances:
            if instance.id == noted.instance:
                self.instance = instance
            elif instance.id == noted.replacement:
                self._replacement = instance
            elif instance.exit_code is None:
                self._attendant.in_background(self._retire(instance), f"retire:{self.name}:{instance.id}")
            else:
                self._attendant.account(instance)

    # --- its life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the dyno running while it is wanted; returns when its last process is gone."""
        while True:
            if self.state is SlotState.CRASHED:
                await self._back_off()
            if not self.wanted and self.instance is None:
                break
            instance = self.instance or await self._start()
            if instance is None:
                continue
            ending = await self._live(instance)
            if ending is Ending.RESTART:
                self._restart.asked = False
            if ending is Ending.RESTART and instance.state is InstanceState.UP and self._boots_beside:
                await self._replace(instance)
            else:
                await self._end(instance, ending)
        if self.state is not SlotState.DOWN:
            self._advance(SlotEvent.STOP)
        self._restart.answer(up=False)

    @property
    def _boots_beside(self) -> bool:
        if self._replacement is not None:
            return True
        return (self.web or self.command.overlaps) and (self._trial is None or self._trial.beside)

    async def run_once(self, done: Callable[[int], None], attachment: Attachment | None = None) -> int:
        """Run a one-off dyno, never restarted; returns its exit code once everything it wrote is handed on.

        `done` hears the code first: what it keeps is kept before the keeper forgets the instance. With an `attachment`
        it is started once somebody is there.
        """
        self.attachment = attachment
        if (instance := self.instance) is None and (attachment is None or await self._await_client(attachment)):
            instance = await self._start()
        if instance is None:
            done(self._refused_with)
            return self._refused_with
        if self.state is SlotState.COMPLETE:  # an earlier core got as far as noting it
            self._attendant.account(instance)
            return instance.exit_code or 0
        ending = await self._live(instance)
        if ending is Ending.EXITED:
            await heard_out(instance, self._shared.output)
            self.log.exited(instance)
            if instance.exit_code and instance.attachment is None:
                self.log.explain_exit(instance)
        elif ending is Ending.OVER_LIMIT:
            await self._kill_aloud(instance)
        else:
            await self._retire(instance, account=False)
        code = instance.exit_code or 0
        self._advance(SlotEvent.COMPLETED)
        done(code)
        self._attendant.account(instance)
        return code

    async def _await_client(self, attachment: Attachment) -> bool:
        """Heroku: the command is started once its client is there; without one in time R13, and the dyno ends."""
        if self.state is not SlotState.STARTING:
            self._advance(SlotEvent.START, silently=True)
        self.log.say("Awaiting client")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + attachment.await_client_s
        while self.wanted and not attachment.is_taken and loop.time() < deadline:
            await self._until(deadline)
        if self.wanted and attachment.is_taken:
            return True
        if self.wanted:
            self.log.say(R13)
        self.log.say("Process exited")
        self._advance(SlotEvent.COMPLETED)
        attachment.refused(*STOPPED_EARLY)
        return False

    async def _start(self, replaces: Instance | None = None) -> Instance | None:
        """Launch an instance; None when it cannot be, which is a crash. The first of a slot becomes the slot's."""
        if replaces is None and self.state is not SlotState.STARTING:
            self._advance(SlotEvent.START, silently=self.state is SlotState.DOWN)
        self._leave_gate = await self._shared.gate.enter()
        if not self.wanted and not self.is_one_off:
            self._leave_gate()  # of hundreds that start, those that still wait for their turn need not
            return None
        attachment = self.attachment
        if not self.is_one_off:
            self.attachment = None  # for one run: the next is as any other

        def begun(instance: Instance) -> None:
            if replaces is None:
                self.instance = instance
            else:
                self._replacement = instance
            self._keep()

        failure: LaunchFailedError | None = None
        try:
            instance = await self._launcher.launch(attachment, replaces, begun)
        except LaunchFailedError as error:
            instance, failure = None, error
        if instance is not None:
            instance.hastened = self._attendant.hastened
            self._attendant.attend(instance)
            return instance
        self._leave_gate()
        self._refused_with, why = (failure.status, failure.why) if failure is not None else STOPPED_EARLY
        if attachment is not None:
            attachment.refused(self._refused_with, why)
        if replaces is not None:
            self._replacement = None
            return None
        self.instance = None
        if self.is_one_off:
            self._advance(SlotEvent.COMPLETED)
        elif failure is not None:
            self._crash(0.0, RestartCause.CRASH)
            self._shared.exited(self.name, self._refused_with)
        return None

    async def _live(self, instance: Instance) -> Ending:
        """From launch, or wherever an earlier core was, to its end."""
        if instance.state is InstanceState.LAUNCHING:
            if (ending := await self._come_up(instance)) is not None:
                return ending
            self._ready(instance)
        elif instance.state is InstanceState.UP:
            self._checks.join(instance)
            if instance.health is None:
                self._checks.follow(instance, started=True)
            if self.state is SlotState.STARTING and self._replacement is None:
                self._advance(SlotEvent.READY)  # the earlier core got as far as noting it of the instance
        elif instance.stop_asked:
            return Ending.STOP
        if self._replacement is not None:
            return Ending.RESTART
        while True:
            if (ending := self._asked(instance)) is not None:
                return ending
            if (reason := self._checks.heed(instance)) is not None:
                self._shared.reports.note("dyno.unhealthy", f"{self.name}: {reason}")
                self.restart("liveness check failed", cause=RestartCause.HEALTH)
            self._settle(instance)
            deadlines = (self.log.silence_deadline(instance), instance.cycle_at, self._settled_at(instance))
            due = [at for at in deadlines if at is not None]
            await self._until(min(due) if due else None)
            self.log.name_silence(instance)
            self._cycle(instance)

    def _asked(self, instance: Instance) -> Ending | None:
        """What has happened to the instance, or been asked of it."""
        if instance.exit_code is not None:
            return Ending.EXITED
        if instance.over_limit is not None:
            return Ending.OVER_LIMIT
        if not self.wanted:
            return Ending.STOP
        if self._abandoned:
            return Ending.ABANDONED
        return Ending.RESTART if self._restart.asked else None

    async def _come_up(self, instance: Instance) -> Ending | None:
        """None when it is up: it listens, and its startup checks pass."""
        if self.web and instance.address is None:
            boot = Boot(instance, self.command.rules, self._shared, say=self.log.say, news=self.changed)
            try:
                with boot:
                    ending = await self._watch(instance, boot.progress)
            finally:
                self._leave_gate()
            if ending is not None:
                return ending
        self._checks.follow(instance, started=False)
        return await self._watch(instance, lambda: self._checks.progress(instance))

    async def _watch(self, instance: Instance, progress: Callable[[], Progress | Ending]) -> Ending | None:
        """None once it has made that progress."""
        while (now := progress()) is not Progress.UP:
            if isinstance(now, Ending):
                return now
            if (ending := self._asked(instance)) is not None:
                return ending
            await self._until(None)
        return None

    async def _prove(self, new: Instance, old: Instance) -> Ending | None:
        """None when the new process may take over: it has stayed up long enough, and so have those of other types."""
        trial = self._trial
        if trial is None:
            return None
        loop = asyncio.get_running_loop()
        settled_at = loop.time() + trial.settle_s
        while trial is not None and old.exit_code is None:  # once the old one has gone by itself, this one will do
            is_settled = loop.time() >= settled_at
            if is_settled and trial.go:
                break
            if (ending := self._asked(new)) is not None:
                return ending
            await self._until(None if is_settled else settled_at)
            trial = self._trial
        return self._asked(new)

    def _settled_at(self, instance: Instance) -> float | None:
        """When a process that took the old one's place has been up long enough."""
        if self._trial is None or self._restart.asked or instance.up_since is None:
            return None
        return instance.up_since + self._trial.settle_s if instance.release == self.command.release else None

    def _settle(self, instance: Instance) -> None:
        at = self._settled_at(instance)
        if at is not None and asyncio.get_running_loop().time() >= at:
            self._trial = None
            self._restart.answer(up=True)

    def _ready(self, instance: Instance) -> None:
        self._leave_gate()
        instance.advance(InstanceEvent.READY)
        instance.up_since = asyncio.get_running_loop().time()
        self._attendant.booted(self.name, instance.up_since - instance.launched)
        if cycle_s := self.command.rules.cycle_s:
            instance.cycle_at = instance.launched + cycle_s * (1 + CYCLE_SPREAD * self._shared.random())
        self._shared.placement.set_state(instance.id, instance.note())
        self._checks.join(instance)
        self._advance(SlotEvent.READY)
        self._shared.reports.well(Trouble.CRASHED, self.name)
        if self._trial is None:
            self._restart.answer(up=True)

    async def _replace(self, old: Instance) -> None:
        """Boot a new instance beside the old one, which serves until the new one is up, and for good if it fails."""
        if self.state is SlotState.UP:
            self.log.say(self._restart.word)
            self._advance(SlotEvent.RESTART)
        while True:
            new = self._replacement or await self._start(replaces=old)
            if new is None:
                if not self.wanted:
                    await self._end(old, Ending.STOP)
                    return
                break
            ending = await self._come_up(new) if new.state is InstanceState.LAUNCHING else None
            if ending is None and new.state is InstanceState.LAUNCHING:
                ending = await self._prove(new, old)
            if ending is None or ending is Ending.STOP:
                self.instance, self._replacement, self._trial = new, None, None
                self.restarts[self._restart.cause] += ending is None
                if ending is None and new.state is InstanceState.LAUNCHING:
                    self._ready(new)
                else:
                    self._keep()
                self._attendant.in_background(self._retire(old), f"retire:{self.name}:{old.id}")
                return
            await self._kill(new)
            self.log.exited(new)
            self._replacement = None
            self._keep()
            self._attendant.account(new)
            if ending is Ending.RESTART:
                self._restart.asked = False
            elif ending is not Ending.PORT_TAKEN:
                break
        why = "the change was undone" if self._abandoned else "the new one did not come up"
        self._abandoned, self._trial = False, None
        self.log.say(f"{self.name} goes on with its old process: {why}")
        self.log.add(f"old process kept: {why}")
        if cycle_s := self.command.rules.cycle_s:
            old.cycle_at = asyncio.get_running_loop().time() + cycle_s  # tried again then, and not never
            self._shared.placement.set_state(old.id, old.note())
        self._advance(SlotEvent.READY)
        self._restart.answer(up=False)

    async def _end(self, instance: Instance, ending: Ending) -> None:
        match ending:
            case Ending.EXITED:
                self._leave_gate()
                await heard_out(instance, self._shared.output)
                self.log.exited(instance)
                self.log.explain_exit(instance)
                self.instance = None
                self._crash(self._up_s(instance), RestartCause.CRASH)
                self._shared.exited(self.name, instance.exit_code or 0)
            case Ending.STOP:
                self._advance(SlotEvent.STOP)
                await self._retire(instance)
            case Ending.RESTART:
                self.log.say(self._restart.word)
                self.restarts[self._restart.cause] += 1
                self._advance(SlotEvent.RESTART)
                self._crashes = 0
                await self._retire(instance)
            case Ending.PORT_TAKEN:
                self.log.say(f"port {instance.port} was taken by another program meanwhile; trying another port")
                await self._kill(instance)
            case Ending.BOOT_TIMEOUT | Ending.OVER_LIMIT:
                await self._kill_aloud(instance)
                self.instance = None
                cause = instance.over_limit or RestartCause.BOOT
                self._crash(self._up_s(instance), cause)
                self._shared.exited(self.name, instance.exit_code or 0)
            case Ending.CHECKS_FAILED:
                await self._retire(instance, account=False)
                self.instance = None
                self._crash(0.0, RestartCause.BOOT)
                self._shared.exited(self.name, instance.exit_code or 0)
        self.instance = None
        self._keep()
        self._attendant.account(instance)

    async def _retire(self, instance: Instance, *, account: bool = True) -> None:
        """Out of the router's pool, then the stop signal and its grace, until nothing is left of it."""
        instance.end_health()
        instance.in_pool = False
        self._attendant.state_changed()
        await self._shared.traffic.drain(instance.id)
        rule = self.command.stop
        if not instance.stop_asked and instance.exit_code is None:
            instance.stop_asked = True
            instance.grace_s = rule.grace_s  # the settings may be others than when it was launched
            instance.advance(InstanceEvent.STOP)
            self._shared.placement.set_state(instance.id, instance.note())
            self.log.say(f"Stopping all processes with {signal.Signals(rule.signal).name}")
        self._shared.placement.stop(instance.id, number=rule.signal, grace_s=0.0 if instance.hastened else rule.grace_s)
        await instance.finished.wait()
        self._shared.traffic.leave(instance.id)
        self.log.exited(instance)
        if account:
            self._attendant.account(instance)

    async def _kill_aloud(self, instance: Instance) -> None:
        self.log.say("Stopping process with SIGKILL")
        await self._kill(instance)
        self.log.exited(instance)

    async def _kill(self, instance: Instance) -> None:
        instance.end_health()
        if instance.exit_code is None:
            instance.advance(InstanceEvent.STOP)
        self._shared.placement.stop(instance.id, number=signal.SIGKILL, grace_s=0.0)
        await instance.finished.wait()

    async def _back_off(self) -> None:
        loop = asyncio.get_running_loop()
        while self.wanted and not self._restart.asked and loop.time() < self._retry_at:
            await self._until(self._retry_at)
        if self._restart.asked:
            self._restart.asked = False
            self._crashes = 0

    def _crash(self, up_s: float, cause: RestartCause) -> None:
        self.restarts[cause] += 1
        policy = self.command.rules.restart
        self._crashes = policy.crashes_after(self._crashes, up_s)
        delay_s = policy.delay_s(self._crashes, self._shared.random)
        self._retry_at = asyncio.get_running_loop().time() + delay_s
        again = datetime.fromtimestamp(self._shared.clock() + delay_s, UTC)
        when = f"back-off until {again:%H:%M:%S} UTC" if delay_s else "next start at once"
        why = self.log.why_crashed() or cause.value
        self._shared.reports.failed(Trouble.CRASHED, self.name, f"{why}; crash {self._crashes} in a row, {when}")
        self.log.add(f"crash {self._crashes} in a row, {when}")
        self._advance(SlotEvent.EXITED)
        if not self._restart.asked:
            self._trial = None
        self._restart.answer(up=False)
        if delay_s and self.wanted:
            self.log.say(f"Starting again in {delay_s:.0f} s (crash {self._crashes} in a row)")

    # --- small things -----------------------------------------------------------------------------------------------

    def _advance(self, event: SlotEvent, *, silently: bool = False) -> None:
        was, self.state = self.state, advance_slot(self.state, event)
        if was is not self.state:
            self.since = self._shared.clock()
            if not silently:
                self.log.say(f"State changed from {was} to {self.state}")
        self._keep()
        if self.web:  # no other dyno means anything to a request, and looking at all web dynos for each would be O(n²)
            self._attendant.state_changed()

    def _keep(self) -> None:
        """Note everything for the next core, in one message: no state of half a transition can be read from it."""
        note = SlotNote(
            state=self.state,
            since=self.since,
            crashes=self._crashes,
            restarts=dict(self.restarts),
            retry_at=self._retry_at,
            instance=self.instance.id if self.instance is not None else None,
            replacement=self._replacement.id if self._replacement is not None else None,
            awaits_restart=self.awaits_restart,
            release=self.command.release,
            history=tuple(self.log.history),
        )
        self._shared.placement.put(f"slot:{self._shared.app}:{self.name}", note.text())

    def _up_s(self, instance: Instance) -> float:
        """For how long it was up; 0 if it never was."""
        return asyncio.get_running_loop().time() - instance.up_since if instance.up_since is not None else 0.0

    def _cycle(self, instance: Instance) -> None:
        at = instance.cycle_at
        if at is not None and instance.exit_code is None and asyncio.get_running_loop().time() >= at:
            instance.cycle_at = None
            self.restart(f"cycled after {self.command.rules.cycle_s:.0f} s", word="Cycling", cause=RestartCause.CYCLE)

    async def _until(self, deadline: float | None) -> None:
        """Wait for news, or for the deadline (the loop's clock)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
        self._changed.clear()
