"""An answer in JSON by FastAPI, from one of several workers."""

import os

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def hello(name: str = "fastapi") -> dict[str, str | int]:
    """Says which process has answered."""
    return {"hello": name, "pid": os.getpid()}
