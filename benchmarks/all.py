"""Every benchmark, one after the other: what `make bench` runs."""

import subprocess
import sys

NAMES = ("shards", "weather", "world", "orchestration", "demo")

if __name__ == "__main__":
    for name in NAMES:
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
