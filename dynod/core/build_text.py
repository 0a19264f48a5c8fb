"""The words of a build's output, in Heroku's form: steps, details, errors. Pure.

Source: heroku-semantics 9.2, 9.3, 9.4 (observed texts); Dev Center "Buildpack API", "Style".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

STEP: Final = "-----> "
DETAIL: Final = "       "
ERROR: Final = " !     "
PUSH_FAILED: Final = " !     Push failed\n"
MIB: Final = 1024 * 1024
MOST_LINKS: Final = 5  # named


def step(text: str) -> str:
    """What the build does next."""
    return f"{STEP}{text}\n"


def detail(text: str) -> str:
    """More of it, line by line."""
    return "".join(f"{DETAIL}{line}".rstrip() + "\n" for line in text.splitlines())


def error(text: str) -> str:
    """What is wrong, line by line."""
    return "".join(f"{ERROR}{line}".rstrip() + "\n" for line in text.splitlines())


def chosen(buildpacks: Sequence[str]) -> str:
    """Those that were named, before the first of them runs."""
    if len(buildpacks) == 1:
        return step(f"Using buildpack: {buildpacks[0]}")
    listed = "\n".join(f"{number}. {name}" for number, name in enumerate(buildpacks, start=1))
    return step("Using buildpacks:") + detail(listed)


def nothing_detected(tried: Sequence[str]) -> str:
    """No buildpack wants the source."""
    return error(
        "No default language could be detected for this app.\n"
        "HINT: This occurs when dynod cannot detect the buildpack to use for this application automatically.\n"
        f"Tried: {', '.join(tried)}.\n"
        "A Procfile alone will do for what is built already; otherwise: dynod buildpacks:set BUILDPACK"
    )


def incompatible(buildpack: str, said: str) -> str:
    """A buildpack that was named does not want the source; `said`: why, in its own words."""
    return error(f"App not compatible with buildpack: {buildpack}") + detail(said)


def failed_to_compile(name: str) -> str:
    """Its compile has failed, and said why."""
    return error(f"Push rejected, failed to compile {name} app.")


def discovered(declared: Sequence[str], defaults: Sequence[str]) -> str:
    """Which process types there are: the Procfile's, and those of the buildpack that it does not name."""
    rows = [("Procfile declares types", ", ".join(declared) or "(none)")]
    if defaults:
        rows.append(("Default types for buildpack", ", ".join(defaults)))
    width = max(len(label) for label, _ in rows)
    text = "\n".join(f"{label:<{width}} -> {types}" for label, types in rows)
    return step("Discovering process types") + detail(text)


def links_out(copied: Sequence[tuple[str, str]], left_out: Sequence[tuple[str, str]]) -> str:
    """Links that led out of the slug, by place and target, and what became of them; nothing where there are none."""
    return _links(copied, detail, "copied") + _links(left_out, error, "left out")


def _links(links: Sequence[tuple[str, str]], form: Callable[[str], str], fate: str) -> str:
    lines = [f"{place} links to {target}, outside of the app: {fate}" for place, target in links[:MOST_LINKS]]
    if len(links) > MOST_LINKS:
        lines.append(f"... and {len(links) - MOST_LINKS} links more")
    return form("\n".join(lines)) if lines else ""


def compressed(size: int) -> str:
    """The slug is made; bytes."""
    return detail(f"Done: {megabytes(size)}")


def too_large(size: int, most: int) -> str:
    """The slug is more than it may be; bytes."""
    return error(f"Compiled slug size: {megabytes(size)} is too large (max is {megabytes(most, 0)}).")


def launched(version: int, web_url: str, types: Mapping[str, str]) -> str:
    """A release was made of it; it goes live in its turn."""
    notice = "Release command declared: this new release will not be available until the command succeeds."
    return (
        step("Launching...")
        + (error(notice) if "release" in types else "")
        + detail(f"Released v{version}")
        + detail(f"{web_url} deployed" if web_url else "deployed")
    )


def megabytes(size: int, digits: int = 1) -> str:
    """As Heroku shows sizes of slugs."""
    return f"{size / MIB:.{digits}f}M"
