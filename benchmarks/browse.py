"""Page of a large dataset: time to its first page, of its requests, and of frames while scrolling.

    python -m nightrain.benchmarks.browse [--rows N] [--scroll] [--json]

The dataset has N variants (default: 100,000) with gate scores in shards of 128 rows. A server on
loopback answers requests as a browser sends them. With --scroll, headless Chromium scrolls the grid
by a screen a second, and then jumps through all of it; this needs `chromium`.
"""

import argparse
import json
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nightrain.benchmarks.report import Figure, print_figures
from nightrain.benchmarks.statistics import write_variants
from nightrain.pipelines.browse.app import make_app
from nightrain.pipelines.browse.live import LiveSamples
from nightrain.pipelines.browse.server import listen

NUM_REQUESTS = 30
FIRST_PAGE_LIMIT_S = 1
SCORES = {"faults": {"spread": 31.5, "change": 0.2}, "structure": {"lost": 0.1, "novel": 0.05}}
SCROLL = """
new Promise((resolve) => {
  const grid = document.getElementById("grid"), times = [];
  let before = performance.now(), first = before;
  function frame(now) {
    times.push(now - before);
    const passed = now - first;
    grid.scrollTop = passed * (JUMP ? grid.scrollHeight / 5000 : grid.clientHeight / 1000);
    before = now;
    if (passed < 5000) requestAnimationFrame(frame);
    else resolve(times.slice(1));
  }
  requestAnimationFrame(frame);
})
"""


@contextmanager
def served(live: LiveSamples) -> Iterator[str]:
    """Serve the page of an index in a thread; yield its address."""
    import uvicorn

    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(make_app(live, listening.access), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening.socket]})
    thread.start()
    try:
        yield listening.address
    finally:
        server.should_exit = True
        thread.join()


def timed(address: str) -> tuple[float, bytes]:
    """Seconds and body of a request."""
    started = time.perf_counter()
    with urllib.request.urlopen(address) as answer:
        body = answer.read()
    return time.perf_counter() - started, body


def requests(what: str, addresses: list[str]) -> Figure:
    """Median time of requests, in ms, and the CPU time of one, the client's included."""
    cpu = time.process_time()
    median_ms = 1000 * float(np.median([timed(address)[0] for address in addresses]))
    cpu_ms = 1000 * (time.process_time() - cpu) / len(addresses)
    return Figure(f"{what}: median; CPU time {cpu_ms:.1f} ms", median_ms, "ms", "")


def measure(num_rows: int, scroll: bool) -> list[Figure]:
    """Time the index, the requests, and frames of the grid."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_variants(root, num_rows, {"gate_scores": json.dumps(SCORES), "prompt": "A street"})
        started, cpu = time.perf_counter(), time.process_time()
        live = LiveSamples(root)
        ready_s, ready_cpu_s = time.perf_counter() - started, time.process_time() - cpu
        with served(live) as address:
            figures = [
                Figure("rows", len(live.now().samples), "", ""),
                Figure("reading the index", ready_s, "s", ""),
                Figure("reading the index, CPU time", ready_cpu_s, "s", ""),
                *_requests(address, num_rows),
            ]
            if scroll:
                figures += _scrolled(address)
    return figures


def _requests(address: str, num_rows: int) -> Iterator[Figure]:
    cpu = time.process_time()
    page_s = timed(address)[0] + timed(f"{address}api/dataset")[0]
    counts_s = timed(f"{address}api/facets")[0]
    rows_s, body = timed(f"{address}api/samples?limit=100")
    first_s = page_s + counts_s + rows_s
    first_cpu_s = time.process_time() - cpu
    yield Figure("page, counts and first 100 rows", first_s, "s", f"at most {FIRST_PAGE_LIMIT_S}")
    yield Figure("the same, CPU time of server and client", first_cpu_s, "s", "")
    rng = np.random.default_rng(0)
    offsets = rng.integers(0, num_rows, NUM_REQUESTS).tolist()
    pages = [f"{address}api/samples?limit=100&offset={offset}" for offset in offsets]
    yield requests("any 100 rows", pages)
    ends = [f"severity:{0.01 * n:.2f}:" for n in range(NUM_REQUESTS)]
    filters = [f"{address}api/samples?sort=faults.spread&between={end}" for end in ends]
    yield requests("100 rows of a new filter and order", filters)
    texts = [f"{address}api/facets?text={n:03x}" for n in range(NUM_REQUESTS)]
    yield requests("counts of a text in nine facets", texts)
    yield requests("all charts", [f"{address}api/charts"])
    keys = [f"{index:020x}" for index in offsets]
    yield requests("thumbnail", [f"{address}thumbnail/{key}" for key in keys])
    assert len(json.loads(body)["items"]) == min(100, num_rows)


def _scrolled(address: str) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as profile, _Chromium(profile) as page:
        page.call("Page.navigate", url=address)
        while page.value("document.body?.dataset.ready") != "true":
            time.sleep(0.1)
        for words, jump in (("a screen a second", "false"), ("all rows in 5 s", "true")):
            times = page.value(SCROLL.replace("JUMP", jump))
            yield Figure(f"time of a frame, {words}: median", float(np.median(times)), "ms", "")
            yield Figure(f"the same, 95 %: {len(times)} frames", float(np.quantile(times, 0.95)),
                         "ms", "")  # fmt: skip
        tiles = page.value("document.querySelectorAll('.tile').length")
        yield Figure("tiles that exist", tiles, "", "")


class _Chromium:
    """Headless Chromium with one page, driven over its debugging protocol."""

    def __init__(self, profile: str) -> None:
        words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "about:blank"]
        words += ["--remote-debugging-port=0", "--window-size=1280,900"]
        words.append(f"--user-data-dir={profile}")
        self._process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        self._number = 0

    def __enter__(self) -> "_Chromium":
        from websockets.sync.client import connect

        assert self._process.stderr is not None
        line = next(line for line in self._process.stderr if "DevTools listening" in line)
        threading.Thread(target=self._process.stderr.read, daemon=True).start()
        port = line.split("127.0.0.1:")[1].split("/")[0]
        pages = json.loads(timed(f"http://127.0.0.1:{port}/json/list")[1])
        page = next(page for page in pages if page["type"] == "page")
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._socket.send(json.dumps(message))
        while (answer := json.loads(self._socket.recv())).get("id") != self._number:
            continue  # an event
        return answer["result"]

    def value(self, script: str) -> Any:
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        return found["result"].get("value")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--scroll", action="store_true", help="also scroll in headless Chromium")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print_figures("Page of a dataset", measure(options.rows, options.scroll), options.json)


if __name__ == "__main__":
    main()
