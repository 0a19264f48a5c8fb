"""Pure decisions of the router: no event loop, sockets, clock or randomness in here."""
