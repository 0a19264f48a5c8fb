"""Writes `n=1 id=UUID`, `n=2 id=UUID` …, and tells each number, once it is written, by a datagram to port $REPORTS.

Whoever counts the datagrams knows what was written at least, also by a dyno that was killed at any moment.
"""

import os
import signal
import socket
import uuid

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
name = str(uuid.uuid4())
reports = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
reports.connect(("127.0.0.1", int(os.environ["REPORTS"])))
number = 0
while signal.sigtimedwait({signal.SIGTERM}, 0.02) is None:
    number += 1
    os.write(1, b"n=%d id=%b\n" % (number, name.encode()))
    reports.send(b"%d %b" % (number, name.encode()))
