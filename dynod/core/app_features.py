"""The features that an app may have: Heroku's names, and what each does here. Pure.

Source: `heroku features`, which shows those whose `state` is `general`, and `heroku labs`, which shows the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PREBOOT: Final = "preboot"
SESSION_AFFINITY: Final = "http-session-affinity"
RUNTIME_METRICS: Final = "log-runtime-metrics"
DYNO_METADATA: Final = "runtime-dyno-metadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One that can be switched on."""

    name: str
    display_name: str
    description: str
    state: str
    doc_url: str


FEATURES: Final[Mapping[str, Feature]] = {
    feature.name: feature
    for feature in (
        Feature(
            name=PREBOOT,
            display_name="Preboot",
            description="Start all new web dynos before the old ones stop.",
            state="general",
            doc_url="https://devcenter.heroku.com/articles/preboot",
        ),
        Feature(
            name=SESSION_AFFINITY,
            display_name="Session Affinity",
            description="Send all requests of a client to the web dyno that it began with.",
            state="general",
            doc_url="https://devcenter.heroku.com/articles/session-affinity",
        ),
        Feature(
            name=RUNTIME_METRICS,
            display_name="Log Runtime Metrics",
            description="Write each dyno's load and memory to the log every 20 seconds.",
            state="beta",
            doc_url="https://devcenter.heroku.com/articles/log-runtime-metrics",
        ),
        Feature(
            name=DYNO_METADATA,
            display_name="Dyno Metadata",
            description="Give dynos variables that name their app and release (HEROKU_APP_NAME and others).",
            state="beta",
            doc_url="https://devcenter.heroku.com/articles/dyno-metadata",
        ),
    )
}
