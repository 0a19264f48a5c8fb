"""What the health checks of a slot's instances say, and what follows: up, in or out of the router's pool, restarted.

Flow: `probes` runs the checks of app.json → **followed checks** → slot, router. Without readiness checks a dyno is in
the pool as soon as it is up.
"""

from collections.abc import Callable

from dynod.core.healthcheck import NotReady, Ready, Started, StartFailed, Target, Unhealthy, Verdict, line
from dynod.process.instance import Ending, Instance, Progress
from dynod.process.surroundings import Attendant, Command, Surroundings


class FollowedChecks:
    """Of one slot, whose command may change. Verdicts wait here until the slot's task asks for them."""

    def __init__(
        self,
        command: Callable[[], Command],
        shared: Surroundings,
        attendant: Attendant,
        *,
        say: Callable[[str], None],
        news: Callable[[], None],
    ) -> None:
        """`news` is called whenever there is something to ask for."""
        self._command = command
        self._shared = shared
        self._attendant = attendant
        self._say = say
        self._news = news
        self._heard: list[tuple[str, Verdict]] = []  # instance id, what its checks say

    def follow(self, instance: Instance, *, started: bool) -> None:
        """Follow the instance's checks from now on, if it has any. `started`: an earlier core has seen it come up."""
        checks = self._command().checks
        if not checks or self._shared.health is None:
            instance.in_pool = True
            return

        def heard(verdict: Verdict) -> None:
            self._heard.append((instance.id, verdict))
            self._news()

        target = Target(
            instance_id=instance.id,
            name=instance.name,
            port=instance.port or 0,
            address=instance.address,
            launched=instance.launched,
        )
        run = self._shared.health.run(target, checks, heard, started=started, ready=instance.in_pool)
        instance.health = self._attendant.in_background(run, f"health:{instance.name}:{instance.id}")

    def progress(self, instance: Instance) -> Progress | Ending:
        """Of one that comes up: its startup checks pass. One that replaces another must be ready too."""
        if instance.health is None:
            return Progress.UP
        said = self._take(instance)
        instance.in_pool |= any(isinstance(verdict, Ready) for verdict in said)
        start_failed = any(isinstance(verdict, StartFailed) for verdict in said)
        not_ready = any(isinstance(verdict, NotReady) for verdict in said)
        replaces = instance.replaces is not None
        if (start_failed and (self._command().rules.enforce or replaces)) or (not_ready and replaces):
            return Ending.CHECKS_FAILED
        if start_failed:
            instance.in_pool = True  # only reported; nothing follows it
        if instance.in_pool or (any(isinstance(verdict, Started) for verdict in said) and not replaces):
            return Progress.UP
        return Progress.WAITING

    def heed(self, instance: Instance) -> str | None:
        """Of one that is up: in or out of the router's pool by readiness. The reason, when it must be restarted."""
        reason = None
        for verdict in self._take(instance):
            match verdict:
                case Ready():
                    instance.in_pool = True
                    self.join(instance)
                    self._shared.placement.set_state(instance.id, instance.note())
                case NotReady():
                    instance.in_pool = False
                    self._shared.traffic.leave(instance.id)
                    self._shared.placement.set_state(instance.id, instance.note())
                case Unhealthy() if self._command().rules.enforce:
                    reason = line(verdict)
        return reason

    def join(self, instance: Instance) -> None:
        """Let requests come to it, if its checks allow that."""
        if instance.address is not None and instance.in_pool:
            self._shared.traffic.join(instance.id, instance.name, instance.address)

    def _take(self, instance: Instance) -> list[Verdict]:
        """What its checks have said since the last time; each that concerns people is said in the log."""
        mine = [verdict for id_, verdict in self._heard if id_ == instance.id]
        self._heard = [each for each in self._heard if each[0] != instance.id]
        for verdict in mine:
            if (text := line(verdict)) is not None:
                self._say(text)
        return mine
