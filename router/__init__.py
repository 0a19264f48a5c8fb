"""dynod's HTTP router, usable alone: `python -m router --backend HOST:PORT`. Imports nothing of dynod.

These names are its public interface; everything else may change.
"""

from router.core.backend import Backend
from router.core.balance import Balance
from router.core.codes import CODES, Code, CodeMeaning
from router.core.pool import AppCondition
from router.core.request_record import RequestRecord
from router.errors import RouterError, SettingsError
from router.metrics import RouterMetrics
from router.record_lines import format_line
from router.server import Router
from router.settings import RouterSettings

__all__ = [
    "CODES",
    "AppCondition",
    "Backend",
    "Balance",
    "Code",
    "CodeMeaning",
    "RequestRecord",
    "Router",
    "RouterError",
    "RouterMetrics",
    "RouterSettings",
    "SettingsError",
    "format_line",
]
