"""`python manage.py work`: take jobs from the table until told to stop.

SIGTERM is how a dyno is asked to leave: the job in hand goes back into the queue and the worker ends with 0.
"""

import logging
import os
import signal
import threading
import time

from django.core.management.base import BaseCommand
from django.db import OperationalError

from jobs.models import Job
from jobs.primes import Stopped, count_primes

log = logging.getLogger("worker")

POLL_S = 0.5


class Command(BaseCommand):
    help = "Work on queued jobs until SIGTERM."

    def handle(self, **options: object) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        worker = os.environ.get("DYNO", f"pid {os.getpid()}")
        if not _wait_for_the_table(stop):
            return
        if left := Job.objects.give_back(worker):
            log.info("%d job(s) of an earlier %s are queued again", left, worker)
        log.info("%s is waiting for jobs", worker)
        while not stop.is_set():
            job = Job.objects.claim_next(worker)
            if job is None:
                stop.wait(POLL_S)
            else:
                _work_on(job, stop)
        Job.objects.give_back(worker)
        log.info("%s stops", worker)


def _wait_for_the_table(stop: threading.Event) -> bool:
    said = False
    while not stop.is_set():
        try:
            Job.objects.exists()
        except OperationalError as error:
            if "no such table" not in str(error):
                raise
            if not said:
                log.warning("the database has no tables yet: run `dynod up --release`, or `python manage.py migrate`")
                said = True
            stop.wait(POLL_S)
        else:
            return True
    return False


def _work_on(job: Job, stop: threading.Event) -> None:
    log.info("%s: started", job)
    began = time.monotonic()
    try:
        job.answer = count_primes(job.limit, should_stop=stop.is_set)
    except Stopped:
        log.info("%s: left for another worker", job)
        return
    job.took_ms = round((time.monotonic() - began) * 1000)
    job.state = Job.State.DONE
    job.save(update_fields=["answer", "took_ms", "state"])
    log.info("%s: there are %s, found in %d ms", job, f"{job.answer:,}", job.took_ms)
