"""Where every `dynod` command starts: `up` and `serve` are the keeper's, all else is the command line's.

Looks at the first argument and no further (contracts, "Keeper and core"), and imports only the side that is asked for:
the keeper stays small because it never sees the command line, and `dynod ps` is fast because it never sees the keeper.
"""

import sys

KEPT_VERBS = frozenset({"up", "serve"})


def main() -> int:
    """Run the command line of this process; the exit status is returned."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in KEPT_VERBS:
        from dynod.keeper import main as keeper  # noqa: PLC0415 - either side is imported, never both

        return keeper.main(arguments)
    from dynod.cli import main as cli  # noqa: PLC0415 - as above

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
