"""A source on its way to being live: what `deploy`, `builds:create` and a push have in common.

What is said meanwhile is passed on as it comes, also over a core that is replaced: an output is read anew from where
it was cut.
"""

import time
from collections.abc import Callable
from typing import BinaryIO, Final

from dynod.cli.release_wait import LOOK_AGAIN_S, MOST_CUTS, settled
from dynod.errors import DynodError
from dynod.platform_api.client import ApiClient
from dynod.platform_api.requests import CUT_SHORT, ApiError
from dynod.platform_api.schema import Build, Release

NOT_FOUND: Final = 404
MOST_LOOKS: Final = 400  # at web dynos that boot: longer than Heroku's boot timeout (R10)
RUNNING: Final = "Running release command...\n"

Write = Callable[[bytes], None]


class BuildFailedError(DynodError):
    """Its output says why."""

    code = "build_failed"


class NotUpError(DynodError):
    """The release is live, and nothing of it answers."""

    code = "not_up"


class Output:
    """One output of the daemon's: passed on once, however often it has to be opened."""

    def __init__(self, client: ApiClient, url: str, write: Write) -> None:
        self._client = client
        self._url = url
        self._write = write
        self._passed_on = 0

    def follow(self) -> None:
        """Until it ends. Raises ApiError."""
        cuts = 0
        while True:
            before = self._passed_on
            try:
                self.read_on()
            except ApiError as error:
                cuts = 0 if self._passed_on > before else cuts + 1
                if error.code != CUT_SHORT or cuts > MOST_CUTS:
                    raise
                time.sleep(LOOK_AGAIN_S)
            else:
                return

    def read_on(self) -> None:
        """To where it ends now. Raises ApiError, with the code `cut_short` where it was cut."""
        seen = 0
        for data in self._client.stream(self._url):
            fresh = data[max(0, self._passed_on - seen) :]
            seen += len(data)
            if fresh:
                self._passed_on = seen
                self._write(fresh)


def upload(client: ApiClient, app: str, packed: BinaryIO) -> str:
    """Take the archive there; returns what a build is to name it by. Raises ApiError, NoDaemonError."""
    source = client.create_source(app)["source_blob"]
    client.upload(source["put_url"], packed)
    return source["get_url"]


def built(client: ApiClient, app: str, build: Build, write: Write) -> Build:
    """The build once it is over, its output passed on. Raises BuildFailedError, ApiError."""
    Output(client, build["output_stream_url"], write).follow()
    while build["status"] == "pending":
        build = client.build(app, build["id"])
        if build["status"] == "pending":
            time.sleep(LOOK_AGAIN_S)
    if build["status"] != "succeeded":
        raise BuildFailedError(f"the build of {app} has failed")
    return build


def live(client: ApiClient, app: str, version: int, write: Write) -> Release:
    """The release once it is live, what its release command prints passed on. Raises ReleaseFailedError, ApiError."""
    release = client.release(app, str(version))
    url = release["output_stream_url"]
    if url is not None:
        write(RUNNING.encode())
        output = Output(client, url, write)
        while release["status"] == "pending" and release["dynod"]["phase"] == "wanted":
            _read_on(output)
            time.sleep(LOOK_AGAIN_S)
            release = client.release(app, str(version))
        _read_on(output)
    return settled(client, app, release)


def trouble_of_web(client: ApiClient, app: str) -> str | None:
    """Why a release that is live may not answer yet: the first of an app has nothing to go back to when it crashes.

    Waits for web dynos that still boot. Raises ApiError.
    """
    for _ in range(MOST_LOOKS):
        web = [dyno for dyno in client.dynos(app) if dyno["type"] == "web"]
        if not web or any(dyno["state"] == "up" for dyno in web):
            return None
        crashed = [dyno["name"] for dyno in web if dyno["state"] == "crashed"]
        if crashed:
            return f"{crashed[0]} has crashed: `dynod logs -a {app}` says why"
        time.sleep(LOOK_AGAIN_S)
    return f"{web[0]['name']} has not come up: `dynod logs -a {app}` says why"


def _read_on(output: Output) -> None:
    try:
        output.read_on()
    except ApiError as error:
        if error.code != CUT_SHORT and error.status != NOT_FOUND:  # it is asked for again; nothing was said yet
            raise
