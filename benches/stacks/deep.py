"""Three threads that sleep in 46 frames."""

import sys
import threading
import time


def deep(n):
    if n:
        deep(n - 1)
    else:
        time.sleep(3600)


for _ in range(2):
    threading.Thread(target=deep, args=(13,), daemon=True).start()
time.sleep(0.2)
print("ready")
sys.stdout.flush()
deep(10)
