"""`python -m dynod.keeper.again FD VERB …`: the keeper that another version's has become. Executed by `inheritance`."""

import faulthandler
import os
import sys
from collections.abc import Sequence

from dynod.keeper import inheritance
from dynod.keeper.features import detect
from dynod.keeper.main import Keeper, own_descriptors
from dynod.keeper.notify import Notifier


def main(argv: Sequence[str]) -> int:
    """The descriptor of what was held, then dynod's own arguments. Returns the exit status."""
    own_descriptors()
    faulthandler.enable(2)
    estate = inheritance.read(int(argv[0]))
    notifier = Notifier.at(*estate.notify)
    return Keeper(estate.arguments, features=detect(os.environ), notifier=notifier, estate=estate).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
