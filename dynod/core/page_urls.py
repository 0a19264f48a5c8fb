"""Heroku's two config vars that name an app's own pages for errors and for maintenance. Pure.

Source: Dev Center "Error Codes" and "Maintenance Mode": the router shows the page in a frame and keeps its status. What
is no address of a page is passed over, since a config var may hold anything.
"""

import re
from collections.abc import Mapping
from typing import Final

PAGES: Final[Mapping[str, str]] = {  # config var → setting of the router
    "ERROR_PAGE_URL": "error_page_url",
    "MAINTENANCE_PAGE_URL": "maintenance_page_url",
}
_ADDRESS: Final = re.compile(r"https?://[!-~]+")  # as in `settings_table`


def page_urls(config_vars: Mapping[str, str]) -> dict[str, str]:
    """The router's settings that these config vars come to."""
    return {
        setting: config_vars[name]
        for name, setting in PAGES.items()
        if _ADDRESS.fullmatch(config_vars.get(name, "")) is not None
    }
