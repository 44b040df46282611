"""Run the benchmarks that need no data set, one after the other: `make bench`."""

import subprocess
import sys

NAMES = ("shards", "weather", "world", "orchestration", "demo")

if __name__ == "__main__":
    for name in NAMES:
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
