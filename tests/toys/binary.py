"""Writes every byte value but the line feed in one line, then bytes that are no UTF-8 and a colour never reset."""

import os
import signal

os.write(1, bytes(value for value in range(256) if value not in b"\n") + b"\n")
os.write(1, b"\xff\xfe broken \xc3\n\x1b[31mred to the end\nafter red\n")
os.write(1, "täglich 日本 🐙\n".encode())
signal.pause()
