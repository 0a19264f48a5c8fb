"""The members of the API's objects that dynod's own verbs read. Standard library only: the client imports it."""

from typing import TypedDict


class Ref(TypedDict):
    """An object inside another one."""

    id: str
    name: str


class Owner(TypedDict):
    """Whose an app is."""

    id: str
    email: str


class App(TypedDict):
    """An app."""

    id: str
    name: str
    web_url: str
    git_url: str
    created_at: str
    maintenance: bool
    owner: Owner
    region: Ref
    stack: Ref
    repo_size: int | None
    slug_size: int | None


class Formation(TypedDict):
    """A process type of an app."""

    id: str
    type: str
    command: str
    quantity: int
    size: str


class Happening(TypedDict):
    """An entry of a dyno's causal chain."""

    at: str
    what: str


class ReleaseRef(TypedDict):
    """A release, as other objects name it."""

    id: str
    version: int


class DynoExtras(TypedDict):
    """What dynod knows of a dyno beyond Heroku's object."""

    pid: int | None
    port: int | None
    restarting: bool
    current_release: int
    latest_release: int
    why: list[Happening]


class Dyno(TypedDict):
    """A dyno."""

    id: str
    app: Ref
    name: str
    type: str
    command: str
    size: str
    state: str
    updated_at: str
    attach_url: str | None
    release: ReleaseRef
    dynod: DynoExtras


class ReleaseExtras(TypedDict):
    """What dynod knows of a release beyond Heroku's object."""

    failure: str | None
    phase: str
    process_types: dict[str, str]


class Release(TypedDict):
    """A release. `status`: pending, succeeded, failed or expired."""

    id: str
    version: int
    description: str
    status: str
    current: bool
    created_at: str
    addon_plan_names: list[str]
    eligible_for_rollback: bool
    output_stream_url: str | None
    slug: dict[str, str] | None
    user: Owner
    dynod: ReleaseExtras


class DrainHealth(TypedDict):
    """How a log drain does."""

    sent: int
    dropped: int
    lag_lines: int
    lag_bytes: int
    failures: int
    last_error: str | None
    last_error_at: str | None
    delivered_at: str | None
    tries_again_at: str | None


class LogSession(TypedDict):
    """Where an app's log can be read, once."""

    id: str
    logplex_url: str


class LogDrain(TypedDict):
    """A log drain; its URL as it may be shown."""

    id: str
    token: str
    url: str
    dynod: DrainHealth | None


class Domain(TypedDict):
    """A host name of an app; `kind` is `heroku` for the one that the app has from dynod, else `custom`."""

    id: str
    hostname: str
    kind: str
    cname: str | None


class StorageEntry(TypedDict):
    """A folder of an app that outlives its dynos: `path` in them, `folder` on the machine. dynod's own resource."""

    name: str
    path: str
    folder: str


class Feature(TypedDict):
    """Something that an app may have switched on."""

    id: str
    name: str
    description: str
    doc_url: str
    enabled: bool
    state: str


class SourceAddresses(TypedDict):
    """Where a source is uploaded, and what it is named by then."""

    put_url: str
    get_url: str


class Source(TypedDict):
    """A source that is to be uploaded."""

    source_blob: SourceAddresses


class SourceBlob(TypedDict):
    """What was built."""

    version: str | None


class User(TypedDict):
    """Who did it."""

    id: str
    email: str


class BuildExtras(TypedDict):
    """What dynod knows of a build beyond Heroku's object."""

    release_version: int | None


class Build(TypedDict):
    """A build."""

    id: str
    status: str
    created_at: str
    output_stream_url: str
    source_blob: SourceBlob
    user: User
    dynod: BuildExtras


class EventEntry(TypedDict):
    """An entry of the causal history."""

    id: int
    at: str
    actor: str
    origin: str
    action: str
    app: Ref | None
    detail: str


class WebhookEntry(TypedDict):
    """Who is told when something goes wrong."""

    id: str
    app: Ref
    url: str
    include: list[str]
    level: str
    created_at: str
    updated_at: str


class WebhookEvent(TypedDict):
    """What a delivery tells of."""

    id: str
    include: str


class WebhookAttempt(TypedDict):
    """The last try of a delivery."""

    code: int | None
    error_class: str | None
    status: str


class WebhookDelivery(TypedDict):
    """A message, and what has become of it."""

    id: str
    created_at: str
    event: WebhookEvent
    last_attempt: WebhookAttempt | None
    next_attempt_at: str | None
    num_attempts: int
    status: str


class StatsTraffic(TypedDict):
    """What passed through the router since it began."""

    requests: int
    failed: int
    buckets: list[int]
    in_flight: int


class StatsDyno(TypedDict):
    """A dyno in figures."""

    name: str
    type: str
    state: str
    up_s: float | None
    restarts: int
    memory: int | None
    quota: int | None
    cpu_share: float | None
    processes: int | None
    traffic: StatsTraffic | None
    last: str


class Stats(TypedDict):
    """An app in figures."""

    app: Ref
    maintenance: bool
    release: int | None
    formation: dict[str, int]
    one_off_dynos: int
    log_lines: int
    dynos: list[StatsDyno]
    undelivered: StatsTraffic | None


class Status(TypedDict):
    """How a daemon does."""

    version: str
    verb: str
    pid: int
    since: str
    listeners: list[str]
    api: str | None
    control: str
    state: str
    apps: int
    dynos: dict[str, int]
    held: bool
    lacks: list[str]
    store_refused: int
    troubles: list[str]


class Buildpack(TypedDict):
    """A buildpack."""

    name: str
    url: str


class BuildpackInstallation(TypedDict):
    """A buildpack of an app, in its place."""

    ordinal: int
    buildpack: Buildpack


class DrainTest(TypedDict):
    """What became of a test message."""

    delivered: bool
    error: str | None
    took_ms: int


class DynoSize(TypedDict):
    """A dyno size; `memory` in GB, 0 where there is no quota."""

    name: str
    memory: float


class Account(TypedDict):
    """Who asks."""

    id: str
    email: str
    name: str


class AccessToken(TypedDict):
    """What opens the API over TCP."""

    id: str
    token: str


class AuthorizationExtras(TypedDict):
    """What dynod knows of a token beyond Heroku's object."""

    app: Ref | None
    purpose: str | None
    scope: str
    used_at: str | None


class Authorization(TypedDict):
    """A token; `access_token` is there only in the answer that has made it."""

    id: str
    access_token: AccessToken | None
    created_at: str
    description: str
    scope: list[str]
    dynod: AuthorizationExtras


class KeyExtras(TypedDict):
    """What dynod knows of a key beyond Heroku's object."""

    app: Ref | None
    scope: str
    user: str


class Key(TypedDict):
    """A key of ssh."""

    id: str
    comment: str
    created_at: str
    email: str
    fingerprint: str
    public_key: str
    dynod: KeyExtras


class HerokuEnvironment(TypedDict):
    """What Heroku's own command line needs to find dynod."""

    url: str
    api_key: str
    certificate: str


class DashboardCode(TypedDict):
    """What opens the dashboard: once, and for so many seconds."""

    url: str
    code: str
    expires_in: int
