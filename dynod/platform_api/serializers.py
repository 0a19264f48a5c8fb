"""The API's objects, member by member as Heroku has them (Platform API Reference; heroku/typescript-api-schema 3.sdk).

What dynod knows and Heroku does not is under one member of its own, `dynod`, which Heroku's clients ignore. Where
Heroku asks for a thing of its paid platform (team, region, cost), the answer is something true and harmless.
"""

import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from dynod.app_config import ReleaseView
from dynod.app_domains import DomainView
from dynod.app_features import FeatureView
from dynod.app_logs import DrainState
from dynod.app_storage import StorageView
from dynod.core.app_features import FEATURES
from dynod.core.build import Build
from dynod.core.dyno_sizes import GB, DynoSize
from dynod.core.release import Phase
from dynod.core.release_changes import NameChanges, ReleaseChanges
from dynod.core.slug import Slug
from dynod.operations import AppView, DynoView, FormationView

Json = dict[str, object]

NAMES: Final = uuid.UUID("5a4f8a52-6d0d-4c3e-8d5a-6b3f7c0f2f10")  # under which fixed things get their ids
ALWAYS: Final = "1970-01-01T00:00:00Z"  # since when a user of this machine is one: nobody knows
STACK: Final = "host"  # the machine's own


def time_text(at: datetime) -> str:
    """`2015-01-01T12:00:00Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def fixed_id(kind: str, name: str) -> str:
    """The id of something that has a name and is the same everywhere."""
    return str(uuid.uuid5(NAMES, f"{kind}:{name}"))


FEATURE_IDS: Final = {fixed_id("app-feature", name): name for name in FEATURES}


def account(login: str) -> Json:
    """The user who asks. Not a mailbox: the login name on this machine."""
    return {
        "id": fixed_id("account", login),
        "email": f"{login}@localhost",
        "name": login,
        "allow_tracking": False,
        "beta": False,
        "country_of_residence": None,
        "created_at": ALWAYS,
        "default_organization": None,
        "default_team": None,
        "delinquent_at": None,
        "federated": False,
        "identity_provider": None,
        "last_login": None,
        "sms_number": None,
        "suspended_at": None,
        "two_factor_authentication": False,
        "updated_at": ALWAYS,
        "verified": True,
    }


def app(view: AppView, *, owner: str) -> Json:
    """An app, whole."""
    stack = {"id": fixed_id("stack", STACK), "name": STACK}
    return {
        "acm": False,
        "archived_at": None,
        "build_stack": stack,
        "buildpack_provided_description": None,
        "created_at": time_text(view.created_at),
        "generation": {"id": fixed_id("generation", "cedar"), "name": "cedar"},
        "git_url": "",
        "id": view.id,
        "internal_routing": None,
        "maintenance": view.maintenance,
        "name": view.name,
        "organization": None,
        "owner": {"email": f"{owner}@localhost", "id": fixed_id("account", owner)},
        "region": {"id": fixed_id("region", "local"), "name": "local"},
        "released_at": None,
        "repo_size": None,
        "slug_size": None,
        "space": None,
        "stack": stack,
        "team": None,
        "updated_at": time_text(view.updated_at),
        "web_url": view.web_url,
    }


def formation(view: FormationView) -> Json:
    """A process type of an app."""
    return {
        "app": _app_ref(view.app),
        "command": view.command,
        "created_at": time_text(view.created_at),
        "dyno_size": {"id": fixed_id("dyno-size", view.size.name), "name": view.size.name},
        "id": view.id,
        "quantity": view.quantity,
        "size": view.size.name,
        "type": view.process_type,
        "updated_at": time_text(view.updated_at),
    }


def attach_url(view: DynoView, *, reached_at: str | None) -> str | None:
    """Where whoever has just asked for the dyno attaches to it: by a rendezvous, or a path of this same socket."""
    if view.secret is None:
        return None
    if reached_at is not None:
        return f"rendezvous://{reached_at}/{view.secret}"
    return f"unix:/apps/{view.app.name}/dynos/{view.name}/attach/{view.secret}"


def dyno(view: DynoView, *, reached_at: str | None = None) -> Json:
    """A dyno, with its process id, port and causal chain under `dynod`. `reached_at`: HOST:PORT, over TCP."""
    return {
        "app": _app_ref(view.app),
        "attach_url": attach_url(view, reached_at=reached_at),
        "command": view.command,
        "created_at": time_text(view.created_at),
        "id": view.id,
        "name": view.name,
        "release": {
            "id": view.release_id or fixed_id("release", f"{view.app.id}:{view.release_version}"),
            "version": view.release_version,
        },
        "size": view.size.name,
        "state": view.state.value,
        "type": view.process_type,
        "updated_at": time_text(view.updated_at),
        "dynod": {
            "pid": view.pid,
            "port": view.port,
            "restarting": view.restarting,
            "current_release": view.current_release,
            "latest_release": view.latest_release,
            "why": [
                {"at": time_text(datetime.fromtimestamp(happening.at, UTC)), "what": happening.what}
                for happening in view.why
            ],
        },
    }


def dyno_size(size: DynoSize) -> Json:
    """A dyno size. Nothing costs anything, and a size without a quota has the memory 0 and says so under `dynod`."""
    units = size.cpu_share
    return {
        "architecture": "local",
        "compute": size.cpu_share,
        "cost": {"cents": 0, "unit": "month"},
        "dedicated": size.dedicated,
        "dyno_units": units,
        "generation": {"id": fixed_id("generation", "cedar"), "name": "cedar"},
        "id": fixed_id("dyno-size", size.name),
        "memory": size.memory / GB if size.memory is not None else 0,
        "name": size.name,
        "precise_dyno_units": float(units),
        "private_space_only": False,
        "dynod": {"memory_bytes": size.memory, "processes": size.processes},
    }


def log_drain(view: AppView, state: DrainState) -> Json:
    """A log drain. Its URL is as it may be shown: Heroku's holds the password."""
    record = state.record
    return {
        "addon": None,
        "app": _app_ref(view),
        "created_at": time_text(record.created_at),
        "extended": None,
        "id": record.id,
        "token": record.token,
        "updated_at": time_text(record.updated_at),
        "url": record.url.shown,
        "dynod": _drain_health(state),
    }


def domain(view: DomainView) -> Json:
    """A host name of an app; `heroku` is Heroku's word for the one that is not the user's own."""
    is_own = view.id is None
    return {
        "acm_status": None,
        "acm_status_reason": None,
        "app": _app_ref(view.app),
        "cname": None if is_own else view.target,
        "created_at": time_text(view.created_at),
        "hostname": view.hostname,
        "id": view.id or fixed_id("domain", view.app.id),
        "kind": "heroku" if is_own else "custom",
        "sni_endpoint": None,
        "status": "none" if is_own else "succeeded",
        "updated_at": time_text(view.updated_at),
    }


def storage(view: StorageView) -> Json:
    """A folder that outlives dynos."""
    mounted = view.mounted
    return {
        "app": _app_ref(view.app),
        "created_at": time_text(mounted.created_at),
        "folder": str(view.folder),
        "name": mounted.mount.name,
        "path": mounted.mount.path,
        "updated_at": time_text(mounted.updated_at),
    }


def feature(view: FeatureView) -> Json:
    """A feature of an app."""
    known = view.feature
    return {
        "created_at": time_text(view.created_at),
        "description": known.description,
        "display_name": known.display_name,
        "doc_url": known.doc_url,
        "enabled": view.enabled,
        "feedback_email": "",
        "id": fixed_id("app-feature", known.name),
        "name": known.name,
        "state": known.state,
        "updated_at": time_text(view.updated_at),
    }


def buildpack(ordinal: int, url: str) -> Json:
    """A buildpack of an app, in its place."""
    return {"ordinal": ordinal, "buildpack": {"name": url, "url": url}}


def slug(kept: Slug, blob: Json) -> Json:
    """A slug. `blob`: where its archive is to be put, or is."""
    return {
        "blob": blob,
        "buildpack_provided_description": kept.buildpack_description,
        "checksum": f"SHA256:{kept.checksum}" if kept.checksum is not None else None,
        "commit": kept.commit,
        "commit_description": kept.commit_description,
        "created_at": time_text(kept.created_at),
        "deleted_at": None,
        "id": kept.id,
        "process_types": dict(kept.process_types),
        "size": kept.size,
        "stack": {"id": fixed_id("stack", kept.stack), "name": kept.stack},
        "updated_at": time_text(kept.updated_at),
    }


def build(kept: Build, *, output: str, release_id: str | None) -> Json:
    """A build. `output`: where what it says can be read, and followed. `release_id`: of what it has made."""
    return {
        "app": {"id": kept.app_id},
        "buildpacks": [],
        "created_at": time_text(kept.created_at),
        "id": kept.id,
        "output_stream_url": output,
        "release": {"id": release_id} if release_id is not None else None,
        "slug": {"id": kept.slug_id} if kept.slug_id is not None else None,
        "source_blob": {
            "checksum": None,
            "url": "",
            "version": kept.source_version,
            "version_description": None,
        },
        "stack": STACK,
        "status": kept.status,
        "updated_at": time_text(kept.updated_at),
        "user": {"email": f"{kept.user}@localhost", "id": fixed_id("account", kept.user)},
        "dynod": {"release_version": kept.release_version},
    }


def release(view: ReleaseView, *, output_url: str) -> Json:
    """A release, whole. `output_url`: where what its release command prints can be read, if it has one."""
    one = view.release
    slug = {"id": one.slug_id} if one.slug_id is not None else None
    return {
        "addon_plan_names": [],
        "app": _app_ref(view.app),
        "artifacts": [{"type": "slug", "id": one.slug_id}] if slug is not None else [],
        "created_at": time_text(one.created_at),
        "current": view.is_current,
        "description": one.description,
        "eligible_for_rollback": one.eligible_for_rollback,
        "id": one.id,
        "oci_image": None,
        "output_stream_url": output_url if one.phase is not Phase.NONE else None,
        "slug": slug,
        "status": one.status.value,
        "updated_at": time_text(one.updated_at),
        "user": {"email": f"{one.user}@localhost", "id": fixed_id("account", one.user)},
        "version": one.version,
        "dynod": {"failure": one.failure, "phase": one.phase.value, "process_types": dict(view.process_types)},
    }


def release_changes(view: ReleaseView, changes: ReleaseChanges, process_types: NameChanges) -> Json:
    """A release by what it has changed."""
    one = view.release
    return {
        "version": one.version,
        "description": one.description,
        "user": one.user,
        "created_at": time_text(one.created_at),
        "status": one.status.value,
        "current": view.is_current,
        "failure": one.failure,
        "changes": {
            "since": changes.since,
            "code": changes.code,
            "config": asdict(changes.config),
            "process_types": asdict(process_types),
        },
    }


def _drain_health(state: DrainState) -> Json | None:
    health = state.health
    if health is None:
        return None

    def moment(epoch_s: float) -> str | None:
        return time_text(datetime.fromtimestamp(epoch_s, UTC)) if epoch_s else None

    return {
        "sent": health.sent,
        "dropped": health.dropped,
        "lag_lines": health.lag_lines,
        "lag_bytes": health.lag_bytes,
        "failures": health.failures,
        "last_error": health.last_error or None,
        "last_error_at": moment(health.last_error_at),
        "delivered_at": moment(health.delivered_at),
        "tries_again_at": moment(health.waits_until),
    }


def _app_ref(view: AppView) -> Json:
    return {"id": view.id, "name": view.name}
