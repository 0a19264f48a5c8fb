"""dynod: the Heroku contract on your own machine. This module stays empty of imports: the keeper loads it."""

__version__ = "0.1.0"
