"""config/examples/django under the real `dynod up`: two web dynos through the router, a worker, the release first.

Each test runs a copy of the folder, with a database of its own; the virtual environment is the example's.
"""

import asyncio
import os
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest

from support import installed
from support.up import Up

DYNO = re.compile(r'<h1 id="dyno">(\S+)</h1>')
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    example = installed.django_folder()
    ignored = shutil.ignore_patterns("db.sqlite3*", "__pycache__", ".venv", ".dynod", ".env")
    copy = shutil.copytree(example, tmp_path / "django", ignore=ignored)
    (copy / ".venv").symlink_to(example / ".venv")
    return copy


def dyno_of(page: str) -> str:
    found = DYNO.search(page)
    assert found, page
    return found[1]


def test_the_release_migrates_and_both_web_dynos_answer(folder: Path) -> None:
    with Up(folder, "--release") as up:
        migrated = up.wait_for_line(r"app\[release\.\d+\]: +Applying jobs.0001_initial... OK")
        up.wait_until_up("web.1", "web.2", "worker.1")
        served = up.wait_for_line(r"app\[web\.1\]: .*Listening at")
        assert migrated.number < served.number
        answers = [up.get("/") for _ in range(40)]
        assert {answer.status for answer in answers} == {200}
        assert set(Counter(dyno_of(answer.text) for answer in answers)) == {"web.1", "web.2"}


def test_a_request_that_comes_during_the_release_is_answered(folder: Path) -> None:
    """Whoever opens the page at once waits for the first dyno, and sees no error."""
    os.mkfifo(folder / "gate")
    procfile = (folder / "Procfile").read_text().replace("release: ", "release: cat gate && ")
    (folder / "Procfile").write_text(procfile)
    with Up(folder, "--release") as up, ThreadPoolExecutor() as pool:
        up.wait_for_line(r"heroku\[release\.\d+\]: State changed from starting to up")
        early = pool.submit(up.get, "/")
        (folder / "gate").write_text("go\n")
        assert early.result().status == 200


def test_the_page_shows_the_request_id_that_the_log_has(folder: Path) -> None:
    with Up(folder, "--release") as up:
        up.wait_until_up("web.1")
        answer = up.get("/")
        shown = re.search(r'id="request-id">([^<]+)<', answer.text)
        assert shown, answer.text
        up.wait_for_line(rf'heroku\[router\]: .*path="/".*request_id={shown[1]}.*status=200')


def test_a_job_from_the_page_is_done_by_the_worker(folder: Path) -> None:
    async def put_in(url: str) -> None:
        # The cookie of the form's token comes with a host that is an address, which cookie jars refuse by default.
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(url, cookie_jar=jar, headers={"Referer": f"{url}/"}) as client:
            page = await (await client.get("/")).text()
            token = TOKEN.search(page)
            assert token, page
            form = {"csrfmiddlewaretoken": token[1], "limit": "1000000"}
            async with client.post("/jobs", data=form) as answer:
                assert (answer.status, answer.url.path) == (200, "/"), await answer.text()

    with Up(folder, "--release") as up:
        up.wait_until_up("web.1", "worker.1")
        asyncio.run(put_in(up.router_url))
        up.wait_for_line(r"app\[worker\.1\]: INFO worker: job 1: primes up to 1,000,000: there are 78,498")
        assert "78,498" in up.get("/jobs/table").text


def test_without_a_release_the_page_says_what_is_missing(folder: Path) -> None:
    with Up(folder) as up:
        up.wait_for_line(r"release.*--release", stream="stderr")
        up.wait_until_up("web.1")
        up.wait_for_line(r"app\[worker\.1\]: .*the database has no tables yet")
        assert "The database has no tables yet" in up.get("/").text


def test_a_worker_that_is_stopped_puts_its_job_back(folder: Path) -> None:
    """SIGTERM with work in hand: the job is queued again, and the next run does it."""
    large = "from jobs.models import Job; Job.objects.create(limit=500_000_000, enqueued_by='test')"
    release = f'python manage.py migrate && python manage.py shell -c "{large}"'
    (folder / "Procfile").write_text(f"web: true\nworker: python manage.py work\nrelease: {release}\n")
    with Up(folder, "--release", "worker") as up:
        up.wait_for_line(r"job 1: primes up to 500,000,000: started")
        assert up.stop() == 0
        up.wait_for_line(r"job 1: .*: left for another worker")
    with Up(folder, "worker") as up:
        up.wait_for_line(r"job 1: .*: started")
