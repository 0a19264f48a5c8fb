"""What everybody tries first: print without a flush, then a long sleep. Shown at once only if stdout is unbuffered."""

import time

print("x")
time.sleep(60)
