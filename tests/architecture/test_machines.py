"""The diagrams of ARCHITECTURE.md are those of the tables."""

from support import machines


def test_the_machines_in_architecture_are_those_of_the_tables() -> None:
    """Run `python tests/support/machines.py` after a change of a table."""
    assert machines.written() == machines.section()
