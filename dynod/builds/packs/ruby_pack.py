"""heroku/ruby: gems by Bundler into `vendor/bundle`, from Gemfile.lock, and Rails' assets, with the machine's Ruby."""

import re
import shutil
from collections.abc import Mapping

from dynod.builds.packs import console
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.ruby_request import check_ruby, default_process_types, locked_gems, ruby_request
from dynod.builds.packs.core.version import Version, read_version
from dynod.builds.packs.workspace import Workspace

# The app's own config vars go before them. Bundler reads its settings from the slug, by a path that begins at the app.
PROFILE = """\
export PATH="$HOME/bin:$HOME/vendor/bundle/bin:{own}$PATH"
export BUNDLE_APP_CONFIG="$HOME/.bundle"
export BUNDLE_GEMFILE="${BUNDLE_GEMFILE:-$HOME/Gemfile}"
export RACK_ENV="${RACK_ENV:-production}"
export RAILS_ENV="${RAILS_ENV:-production}"
export RAILS_SERVE_STATIC_FILES="${RAILS_SERVE_STATIC_FILES:-enabled}"
export RAILS_LOG_TO_STDOUT="${RAILS_LOG_TO_STDOUT:-enabled}"
export LANG="${LANG:-C.UTF-8}"
"""
SETTINGS = """\
---
BUNDLE_PATH: "vendor/bundle"
BUNDLE_BIN: "vendor/bundle/bin"
BUNDLE_WITHOUT: "{without}"
BUNDLE_DEPLOYMENT: "true"
"""


def compile_app(workspace: Workspace) -> None:
    """Raises PackError for what cannot be built, with what to do about it."""
    request = ruby_request(workspace.read)
    version = _version(workspace)
    check_ruby(request, version)
    asked = f"{request.file} asks for {request.range.written}" if request else "the Gemfile asks for none"
    console.step(f"Using Ruby {version} ({asked})")
    workspace.note_interpreter("Ruby", version, workspace.program("ruby") or "ruby")
    if "Gemfile.lock" not in workspace.names:
        raise PackError("There is a Gemfile and no Gemfile.lock. Make one with: bundle lock, and commit it.")
    bundle = workspace.program("bundle") or workspace.program("bundle3.1")
    if bundle is None:
        raise PackError("This machine has no Bundler.\nInstall it; on Debian: apt-get install ruby-bundler")
    _install(workspace, bundle, str(version))
    own = workspace.on_path(workspace.program("ruby") or "ruby")
    workspace.write_profile("ruby.sh", PROFILE.replace("{own}", own))
    workspace.write_export(f'export PATH="{workspace.build}/vendor/bundle/bin:$PATH"\n')
    if "rails" in locked_gems(workspace.read) or "sprockets" in locked_gems(workspace.read):
        _precompile(workspace, bundle)


def process_types(workspace: Workspace) -> Mapping[str, str]:
    return default_process_types(workspace.names, workspace.read)


def _version(workspace: Workspace) -> Version | None:
    said = workspace.answer(["ruby", "-e", "print RUBY_VERSION"], workspace.environment())
    return read_version(said) if said else None


def _install(workspace: Workspace, bundle: str, version: str) -> None:
    config = workspace.build / ".bundle/config"
    config.parent.mkdir(exist_ok=True)
    without = workspace.config_vars.get("BUNDLE_WITHOUT", "development:test")
    config.write_text(SETTINGS.format(without=re.sub(r'["\n\\]', "", without)))
    vendored, kept = workspace.build / "vendor/bundle", workspace.cache / f"ruby/bundle-{version}"
    if kept.is_dir() and not vendored.exists():  # gems that are there already are not fetched again
        vendored.parent.mkdir(exist_ok=True)
        shutil.copytree(kept, vendored, symlinks=True)
    console.step("Installing from Gemfile.lock with Bundler")
    local = ["--local"] if (workspace.build / "vendor/cache").is_dir() else []
    environment = _environment(workspace)
    workspace.must(
        [bundle, "install", "--jobs=4", "--retry=2", *local],
        environment,
        otherwise="Bundler could not install what Gemfile.lock asks for; what it printed is above.",
    )
    workspace.run([bundle, "clean", "--force"], environment)
    for made in ("cache", "doc"):
        for folder in vendored.glob(f"ruby/*/{made}"):
            shutil.rmtree(folder)
    shutil.rmtree(kept, ignore_errors=True)
    if vendored.is_dir():
        shutil.copytree(vendored, kept, symlinks=True)


def _environment(workspace: Workspace) -> dict[str, str]:
    environment = workspace.environment(
        BUNDLE_USER_HOME=workspace.cache / "ruby/user",
        BUNDLE_GEMFILE=workspace.build / "Gemfile",
        BUNDLE_APP_CONFIG=workspace.build / ".bundle",
        BUNDLE_SILENCE_ROOT_WARNING="true",
    )
    for name, value in (("RACK_ENV", "production"), ("RAILS_ENV", "production"), ("LANG", "C.UTF-8")):
        environment.setdefault(name, value)
    return environment


def _precompile(workspace: Workspace, bundle: str) -> None:
    """As Heroku's: where rake knows the task. Rails starts for it, with a secret of its own if the app has set none."""
    environment = _environment(workspace)
    environment.setdefault("SECRET_KEY_BASE_DUMMY", "1")
    tasks = workspace.answer([bundle, "exec", "rake", "-P"], environment) or ""
    if not re.search(r"^rake assets:precompile$", tasks, re.MULTILINE):
        return
    console.step("Running: rake assets:precompile")
    workspace.must(
        [bundle, "exec", "rake", "assets:precompile"],
        environment,
        otherwise="rake assets:precompile failed; what it printed is above.",
    )
