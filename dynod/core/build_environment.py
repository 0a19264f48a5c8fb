"""The environment of build scripts: built from nothing, without config vars, which they get as files. Pure.

Source: heroku-semantics 9.2. Of the daemon's own variables those pass that say how the machine reaches others: proxies,
certificates, package indexes.
"""

from collections.abc import Mapping
from typing import Final

from dynod.core.environment import DEFAULT_PATH

STACK: Final = "heroku-24"  # buildpacks choose by this name and refuse those that they do not know
CURL_CONNECT_S: Final = 30  # herokuish
CURL_S: Final = 180
PASSED: Final = frozenset(
    {
        *("LANG", "LC_ALL", "TZ"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
        *("GIT_SSL_CAINFO", "PIP_CERT", "PIP_CONFIG_FILE", "PIP_DEFAULT_TIMEOUT"),
        *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST", "PIP_NO_INDEX"),
        *("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS"),
        *("NPM_CONFIG_REGISTRY", "npm_config_registry", "NPM_CONFIG_CAFILE", "YARN_NPM_REGISTRY_SERVER"),
        *("GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "BUNDLE_MIRROR__ALL", "COMPOSER_MIRROR_PATH_REPOS"),
    }
)


def build_environment(
    *,
    daemon: Mapping[str, str],
    operator: Mapping[str, str],
    home: str,
    temporary: str,
    build_id: str,
    source_version: str | None,
) -> dict[str, str]:
    """`operator`: `[builds] env`, which wins over everything but what tells one build from another."""
    environment = {name: value for name, value in daemon.items() if name in PASSED}
    environment.setdefault("LANG", "C.UTF-8")
    environment |= {
        "PATH": DEFAULT_PATH,
        "HOME": home,
        "TMPDIR": temporary,
        "STACK": STACK,
        "CURL_CONNECT_TIMEOUT": str(CURL_CONNECT_S),
        "CURL_TIMEOUT": str(CURL_S),
        **operator,
        "REQUEST_ID": build_id,
    }
    if source_version is not None:
        environment["SOURCE_VERSION"] = source_version
    return environment
