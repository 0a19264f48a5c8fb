"""One dyno's life, the set of them, their sockets and processes."""
