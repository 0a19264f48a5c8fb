"""The page: which dyno answered, and the jobs."""

import os
import zlib

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from jobs.forms import JobForm
from jobs.models import Job

SHOWN = 8


@require_GET
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    return _page(request, JobForm(), status=200)


@require_POST
def enqueue(request: HttpRequest) -> HttpResponse:
    form = JobForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    job = form.save(commit=False)
    job.enqueued_by = _dyno()
    job.save()
    return redirect("page")


@require_GET
@never_cache
def table(request: HttpRequest) -> HttpResponse:
    """The rows alone, which the page asks for again while a job is under way."""
    return render(request, "jobs/_table.html", {"jobs": _newest_jobs()})


def _page(request: HttpRequest, form: JobForm, *, status: int) -> HttpResponse:
    context = {
        "dyno": _dyno(),
        "hue": zlib.crc32(_dyno().encode()) % 360,
        "port": os.environ.get("PORT", "unknown"),
        "pid": os.getpid(),
        "request_id": request.headers.get("X-Request-Id", "none: this request did not come through a router"),
        "jobs": _newest_jobs(),
        "form": form,
    }
    return render(request, "jobs/page.html", context, status=status)


def _newest_jobs() -> list[Job] | None:
    """None where the release process has not made the table."""
    try:
        return list(Job.objects.newest(SHOWN))
    except OperationalError as error:
        if "no such table" not in str(error):
            raise
        return None


def _dyno() -> str:
    return os.environ.get("DYNO", "no dyno")
