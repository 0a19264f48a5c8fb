"""What hangs on an app and lasts in the store, as far as the API has it: one value with a door to each.

Put together by `dynod serve`, handed to the Platform API; `dynod up` has no store, and none of these.
"""

from dataclasses import dataclass

from dynod.account_keys import AccountKeys
from dynod.app_buildpacks import AppBuildpacks
from dynod.app_builds import AppBuilds
from dynod.app_config import AppConfig
from dynod.app_domains import AppDomains
from dynod.app_features import AppFeatures
from dynod.app_git import AppGit
from dynod.app_settings import AppSettings
from dynod.app_slugs import AppSlugs
from dynod.app_storage import AppStorage
from dynod.app_webhooks import AppWebhooks
from dynod.daemon_backup import DaemonBackup


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResources:
    """Each resource's operations."""

    domains: AppDomains
    config: AppConfig
    features: AppFeatures
    settings: AppSettings
    storage: AppStorage
    buildpacks: AppBuildpacks
    slugs: AppSlugs
    builds: AppBuilds
    git: AppGit
    keys: AccountKeys
    backup: DaemonBackup
    webhooks: AppWebhooks
    blob_key: bytes  # signs the addresses of archives
