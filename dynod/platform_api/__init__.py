"""Heroku's Platform API v3: the server, one module per resource, and the client of dynod's own verbs."""
