"""A build that cannot go on, with what its user can do about it. Pure."""

from dynod.errors import DynodError


class PackError(DynodError):
    """Says what the app asks for, what is there instead, and what to change or to install. May have several lines."""

    code = "build_refused"
