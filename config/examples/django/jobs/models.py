"""One table: jobs which the page puts in and a worker takes out."""

from django.db import models
from django.utils import timezone


class JobQuerySet(models.QuerySet["Job"]):
    def newest(self, count: int) -> "JobQuerySet":
        return self.order_by("-id")[:count]

    def claim_next(self, worker: str) -> "Job | None":
        """The oldest queued job, now this worker's; None if there is none.

        The update names the state that it expects, so of two workers that saw the same job only one gets it.
        """
        while (job := self.filter(state=Job.State.QUEUED).order_by("id").first()) is not None:
            claimed = self.filter(pk=job.pk, state=Job.State.QUEUED).update(state=Job.State.RUNNING, worker=worker)
            if claimed:
                job.refresh_from_db()
                return job
        return None

    def give_back(self, worker: str) -> int:
        """Queue again what this worker had in hand: it was stopped, or killed, before it was done."""
        return self.filter(state=Job.State.RUNNING, worker=worker).update(state=Job.State.QUEUED, worker="")


class Job(models.Model):
    """Count the primes up to `limit`."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"

    limit = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    enqueued_by = models.CharField(max_length=80)
    worker = models.CharField(max_length=80, blank=True)
    answer = models.PositiveIntegerField(null=True)
    took_ms = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = JobQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["state", "id"])]

    def __str__(self) -> str:
        return f"job {self.pk}: primes up to {self.limit:,}"
