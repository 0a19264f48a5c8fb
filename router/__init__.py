"""dynod's HTTP router, usable alone: `python -m router --backend HOST:PORT`. Imports nothing of dynod."""
