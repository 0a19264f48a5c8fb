"""Pure decisions: no event loop, operating system, clock, randomness or logging in here.

tests/architecture checks it.
"""
