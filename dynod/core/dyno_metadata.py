"""What a dyno is told of its app and release, where the app has the feature `runtime-dyno-metadata`. Pure.

Source: Heroku Labs, "Dyno Metadata". The dyno's own id (HEROKU_DYNO_ID) is known only when it is started: see `slot`.
"""

from typing import Final

from dynod.core.release import Release

DYNO_ID: Final = "HEROKU_DYNO_ID"


def dyno_metadata(app_id: str, app_name: str, apps_domain: str, release: Release) -> dict[str, str]:
    """The variables, by name. DYNO_ID is among them, empty, and filled in for each dyno."""
    return {
        "HEROKU_APP_ID": app_id,
        "HEROKU_APP_NAME": app_name,
        "HEROKU_APP_DEFAULT_DOMAIN_NAME": f"{app_name}.{apps_domain}",
        DYNO_ID: "",
        "HEROKU_RELEASE_CREATED_AT": f"{release.created_at:%Y-%m-%dT%H:%M:%SZ}",
        "HEROKU_RELEASE_VERSION": f"v{release.version}",
        "HEROKU_SLUG_DESCRIPTION": release.description,
    }
