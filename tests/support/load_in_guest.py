"""The load of `support/steady_load` as a program: started in the network of a booted guest, told by stdin when to end.

    python load_in_guest.py PORT HOST SEED FIRST

Prints `FIRST` once that many answers have come, and at the end of stdin the outcomes as JSON.
"""

import json
import sys

from support.steady_load import SteadyLoad

if __name__ == "__main__":
    port, host, seed, first = sys.argv[1:]
    with SteadyLoad(int(port), host, seed=int(seed)) as load:
        load.wait_for(int(first), timeout_s=1200)
        print(first, flush=True)
        sys.stdin.read()
    print(json.dumps(dict(load.outcomes)))
