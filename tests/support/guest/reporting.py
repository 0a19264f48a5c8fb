"""How a probe tells the test what it has found: JSON over the guest's serial line."""

import json
from typing import Final

REPORT: Final = "REPORT "


def report(**found: object) -> None:
    """One report; `support.kernel_guest.run_in_guest` returns them in this order."""
    print(f"{REPORT}{json.dumps(found)}", flush=True)
