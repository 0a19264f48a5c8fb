"""The diagrams of ARCHITECTURE.md are those of the tables."""

import pytest

from support import machines


@pytest.mark.parametrize("machine", machines.MACHINES)
def test_the_machines_in_architecture_are_those_of_the_tables(machine: str) -> None:
    """Run `python tests/support/machines.py` after a change of a table."""
    assert machines.written(machine) == machines.section(machine)
