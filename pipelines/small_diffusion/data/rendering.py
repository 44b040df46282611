"""Rendering of the training views by several processes, during training or before it."""

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from nightrain.datasets.world.export.workers import begin_worker, one_thread_each
from nightrain.pipelines.small_diffusion.data.views import write_place


@contextmanager
def rendering(folder: Path, num_places: int, processes: int) -> Iterator["Rendering"]:
    """Render places 0 to num_places - 1 while the with block runs, and stop at its end."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=begin_worker) as pool:
        with one_thread_each():
            futures = {n: pool.submit(write_place, folder, n) for n in range(num_places)}
        found = Rendering(futures)
        try:
            yield found
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((pool._processes or {}).values()):
                process.terminate()


class Rendering:
    """State of the rendering."""

    def __init__(self, futures: dict[int, Future[None]]) -> None:
        self._futures = futures

    def wait(self, num_places: int | None = None, poll_s: float = 0.5) -> None:
        """Wait until so many places have been tried, or all."""
        wanted = len(self._futures) if num_places is None else num_places
        while sum(future.done() for future in self._futures.values()) < wanted:
            time.sleep(poll_s)

    def failures(self) -> dict[int, str]:
        """Places that could not be rendered, with the reason."""
        done = {n: f for n, f in self._futures.items() if f.done() and not f.cancelled()}
        return {n: repr(f.exception()) for n, f in done.items() if f.exception() is not None}
