"""What a composer.json asks for: which PHP, which extensions, and whether there is anything to install. Pure."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dynod.builds.packs.core.composer_range import read_composer_range
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.version import Version, VersionRange


@dataclass(frozen=True, slots=True, kw_only=True)
class PhpRequest:
    """`packages`: whether Composer has something to do, be it only an autoloader."""

    php: VersionRange | None
    extensions: tuple[str, ...]
    packages: bool


def read_composer(text: str | None) -> PhpRequest:
    """None is an app without a composer.json. Raises PackError for one that cannot be understood."""
    if text is None or not text.strip():
        return PhpRequest(php=None, extensions=(), packages=False)
    try:
        declared = json.loads(text)
    except ValueError as error:
        raise PackError(f"composer.json is no JSON: {error}.") from error
    if not isinstance(declared, dict):
        raise PackError("composer.json has to be an object.")
    required = declared.get("require", {})
    wanted: Mapping[str, object] = required if isinstance(required, dict) else {}
    php = wanted.get("php")
    return PhpRequest(
        php=read_composer_range(php) if isinstance(php, str) else None,
        extensions=tuple(sorted(name.removeprefix("ext-") for name in wanted if name.startswith("ext-"))),
        packages=any("/" in name for name in wanted) or "autoload" in declared or "scripts" in declared,
    )


def check_php(request: PhpRequest, there: Version | None, extensions: Collection[str]) -> None:
    """Raises PackError where the machine's PHP is not the one, or lacks an extension."""
    wanted = f", and composer.json asks for {request.php.written}" if request.php else ""
    if there is None:
        raise PackError(f"This machine has no PHP{wanted}.\nInstall it; on Debian: apt-get install php-cli composer")
    if request.php is not None and not request.php.allows(there):
        raise PackError(
            f"This machine has PHP {there}{wanted}.\n"
            "Install one that will do (on Debian and Ubuntu often from packages.sury.org) and put it first on the\n"
            "build's PATH; or change composer.json."
        )
    known = {name.casefold() for name in extensions}
    missing = [name for name in request.extensions if name.casefold() not in known]
    if missing:
        install = " ".join(f"php-{name}" for name in missing)
        raise PackError(
            f"composer.json asks for PHP's {', '.join(missing)}, which this machine's lacks.\n"
            f"Install it; on Debian: apt-get install {install}"
        )
