"""`dynod api-stdio`: stdin and stdout joined to the control socket of the dynod of this machine.

It is the far end of `DYNOD_HOST=ssh://…`: the ssh of a laptop starts it, and talks the API through it. It looks at no
byte. Who asks is, for the kernel and so for dynod, the user whom sshd has let in.
"""

import os
from pathlib import Path

import click

from dynod.cli.joined_stdio import join
from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import find_daemon


@click.command("api-stdio")
@click.option("--socket", "path", metavar="PATH", help="Control socket of the dynod to talk to.")
def command(path: str | None) -> None:
    """Join stdin and stdout to the control socket of the dynod of this machine; for ssh to start.

    Ends when the daemon closes the connection. The end of stdin is passed on, and answers are still waited for.
    """
    # `here`: no journey from VM to VM.
    join(ApiClient(find_daemon(path, os.environ, Path.cwd(), here=True)).open_socket())
