"""heroku/php: packages by Composer, and a web server: PHP's own, since Heroku's Apache and nginx are not there.

`vendor/bin/heroku-php-apache2` and `-nginx`, which Procfiles for Heroku start, are made where Composer has not put
them: they take the same argument, the folder to serve, and say in the log what they are not.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dynod.builds.packs import console
from dynod.builds.packs.core.php_request import check_php, read_composer
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.version import read_version
from dynod.builds.packs.workspace import Workspace

STAND_INS: Final = ("heroku-php-apache2", "heroku-php-nginx")
ROUTER: Final = ".heroku/php/router.php"
SERVER: Final = """\
#!/bin/sh
# PHP's own web server in the place of Apache or nginx: options for those are passed over, .htaccess files not read.
root=.
for word in "$@"; do case $word in -*) ;; *) root=$word ;; esac; done
export PHP_CLI_SERVER_WORKERS="${PHP_CLI_SERVER_WORKERS:-${WEB_CONCURRENCY:-4}}"
# SIGTERM, which reaches all of a dyno, would end it at once; SIGINT does once what it has read is answered.
trap '' TERM
php -S "0.0.0.0:${PORT:-5000}" -t "$root" "${HOME:-.}/.heroku/php/router.php" &
server=$!
finish() {
    kill -INT $(cat "/proc/$server/task/$server/children" 2>/dev/null || pgrep -P "$server") "$server"
}
trap finish TERM
while kill -0 "$server" 2>/dev/null; do wait "$server"; status=$?; done
exit "$status"
"""
# What is no file goes to the app's front controller, as the usual rewrite rules have it; dot files to nobody.
ROUTER_SCRIPT: Final = """\
<?php
$path = rawurldecode(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) ?: '/');
if (preg_match('#/\\\\.(?!well-known/)|^/(composer\\\\.(json|lock)|Procfile|app\\\\.json|vendor/.*)$#', $path)) {
    http_response_code(404);
    echo "Not found\\n";
    return true;
}
$file = $_SERVER['DOCUMENT_ROOT'] . $path;
if ($path !== '/' && is_file($file)) {
    return false;
}
foreach (is_dir($file) ? [rtrim($path, '/') . '/index.php', '/index.php'] : ['/index.php'] as $script) {
    if (is_file($_SERVER['DOCUMENT_ROOT'] . $script)) {
        $_SERVER['SCRIPT_NAME'] = $script;
        $_SERVER['SCRIPT_FILENAME'] = $_SERVER['DOCUMENT_ROOT'] . $script;
        chdir(dirname($_SERVER['SCRIPT_FILENAME']));
        require $_SERVER['SCRIPT_FILENAME'];
        return true;
    }
}
return false;
"""


def compile_app(workspace: Workspace) -> None:
    """Raises PackError for what cannot be built, with what to do about it."""
    request = read_composer(workspace.read("composer.json"))
    environment = workspace.environment(
        COMPOSER_HOME=workspace.cache / "php/composer",
        COMPOSER_CACHE_DIR=workspace.cache / "php/cache",
        COMPOSER_NO_INTERACTION="1",
        COMPOSER_ALLOW_SUPERUSER="1",
    )
    said = workspace.answer(
        ["php", "-r", "echo PHP_MAJOR_VERSION.'.'.PHP_MINOR_VERSION.'.'.PHP_RELEASE_VERSION;"], environment
    )
    version = read_version(said) if said else None
    extensions = (workspace.answer(["php", "-m"], environment) or "").split("\n")
    check_php(request, version, extensions)
    asked = f"composer.json asks for {request.php.written}" if request.php else "the app asks for none"
    console.step(f"Using PHP {version} ({asked})")
    workspace.note_interpreter("PHP", version, workspace.program("php") or "php")
    if request.packages:
        _install(workspace, environment)
    _serve_by_php(workspace)
    own = workspace.on_path(workspace.program("php") or "php")
    workspace.write_profile("php.sh", f'export PATH="$HOME/.heroku/php/bin:$HOME/vendor/bin:{own}$PATH"\n')
    workspace.write_export(f'export PATH="{workspace.build}/vendor/bin:$PATH"\n')


def process_types(_workspace: Workspace) -> Mapping[str, str]:
    """Heroku's command by its name, so that a Procfile and this default mean the same."""
    return {"web": "heroku-php-apache2"}


def _install(workspace: Workspace, environment: dict[str, str]) -> None:
    composer = workspace.program("composer")
    if composer is None:
        raise PackError(
            "composer.json asks for packages, and this machine has no Composer.\nOn Debian: apt-get install composer"
        )
    if "composer.lock" not in workspace.names:
        console.detail("There is no composer.lock: what is installed can be other packages tomorrow. Commit one.")
    console.step("Installing from composer.json with Composer")
    workspace.must(
        [composer, "install", "--no-dev", "--prefer-dist", "--optimize-autoloader", "--no-progress", "--no-ansi"],
        environment,
        otherwise="Composer could not install the packages; what it printed is above.",
    )


def _serve_by_php(workspace: Workspace) -> None:
    router = workspace.build / ROUTER
    programs = router.parent / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    router.write_text(ROUTER_SCRIPT)
    vendored = workspace.build / "vendor/bin"
    vendored.mkdir(parents=True, exist_ok=True)
    for name in STAND_INS:
        for target in (programs / name, vendored / name):
            if target.is_symlink() or not target.exists():
                target.unlink(missing_ok=True)
                _program(target)
    console.step("The web server is PHP's own: behind heroku-php-apache2 and heroku-php-nginx there is neither here")
    if shutil.which("php-fpm") is None and (workspace.build / ".htaccess").is_file():
        console.detail(".htaccess is not read: what is no file goes to index.php, as its usual rules say")


def _program(target: Path) -> None:
    target.write_text(SERVER)
    target.chmod(0o755)
