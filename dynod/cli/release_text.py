"""How releases read, as Heroku's command line prints them, and what differs between two. Pure: objects in, lines out.

Form: heroku/cli `releases`, `releases:info`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from dynod.cli.ps_text import ago, parse_time
from dynod.cli.terminal import app_name, header
from dynod.core.config_vars import names_that_differ
from dynod.platform_api.schema import Release

STATUSES: Final = {"pending": "going live", "failed": "failed", "expired": "release expired"}
COMMAND_RUNS: Final = "release command executing"
COMMAND_FAILED: Final = "release command failed"


def release_lines(app: str, releases: Sequence[Release], current: Release | None, now: datetime) -> list[str]:
    """What `releases` prints, newest first."""
    shown = f" - Current: v{current['version']}" if current is not None else ""
    rows = [
        (
            f"v{release['version']}",
            " ".join(filter(None, [release["description"], status_text(release)])),
            release["user"]["email"],
            ago(parse_time(release["created_at"]), now),
        )
        for release in releases
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*(f"{row[at]:<{widths[at]}}" for at in range(3)), row[3]]) for row in rows]
    return [header(f"{app_name(app)} Releases{shown}"), "", *lines, ""]


def status_text(release: Release) -> str:
    """Heroku's words where the release command is what it is about; none for a release that went live."""
    status, phase = release["status"], release["dynod"]["phase"]
    if phase == "wanted" and status in {"pending", "failed"}:
        return COMMAND_RUNS if status == "pending" else COMMAND_FAILED
    return STATUSES.get(status, "")


def info_lines(release: Release, config: Sequence[str]) -> list[str]:
    """What `releases:info` prints. `config`: lines of the config vars."""
    status = status_text(release)
    rows = {
        "Add-ons": ", ".join(release["addon_plan_names"]) or "none",
        "By": release["user"]["email"],
        "Change": release["description"],
        "Eligible for Rollback?": "Yes" if release["eligible_for_rollback"] else "No",
        **({"Status": status} if status else {}),
        "When": release["created_at"],
    }
    width = max(map(len, rows)) + 1
    lines = [header(f"Release v{release['version']}"), "", *(f"{key + ':':<{width}} {rows[key]}" for key in rows)]
    if release["dynod"]["failure"]:
        lines += ["", header(f"v{release['version']} Failure"), "", *release["dynod"]["failure"].splitlines()]
    return [*lines, "", header(f"v{release['version']} Config vars"), "", *config]


def diff_lines(old: Mapping[str, str], new: Mapping[str, str], *, values: bool) -> list[str]:
    """`+ NAME`, `- NAME`, `~ NAME`: set, unset, changed between two releases; with their values where asked for."""
    lines = []
    for name in names_that_differ(old, new):
        if name not in old:
            lines.append(f"+ {name}={new[name]}" if values else f"+ {name}")
        elif name not in new:
            lines.append(f"- {name}={old[name]}" if values else f"- {name}")
        elif values:
            lines += [f"- {name}={old[name]}", f"+ {name}={new[name]}"]
        else:
            lines.append(f"~ {name}")
    return lines


def code_of(release: Release) -> str:
    """What tells its code from another's."""
    return f"slug {release['slug']['id']}" if release["slug"] is not None else "the app's folder"
