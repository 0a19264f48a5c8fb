"""Burns CPU, on processor N alone with `--processor N`; says how much after each of the seconds of CPU it is given.

Waits first until the FIFO of `--gate` is opened for writing. Then `burns burns.py 0.5 1` says "burnt 0.5", "burnt 1".
"""

import argparse
import os
import time

parser = argparse.ArgumentParser()
parser.add_argument("seconds", nargs="*", type=float)
parser.add_argument("--processor", type=int)
parser.add_argument("--gate")
arguments = parser.parse_args()
if arguments.processor is not None:
    os.sched_setaffinity(0, {arguments.processor})
print(f"ready pid={os.getpid()}", flush=True)
if arguments.gate is not None:
    with open(arguments.gate) as gate:  # noqa: PTH123 (a toy)
        gate.read()
began = time.process_time()
for seconds in arguments.seconds:
    while time.process_time() - began < seconds:
        pass
    print(f"burnt {seconds:g}", flush=True)
while True:
    pass
