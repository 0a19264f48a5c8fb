"""A page by Flask."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """The only one."""
    return "hello from flask"
