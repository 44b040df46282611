"""Rendering of the training views by several processes, during training or before it."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from nightrain.pipelines.small_diffusion.views import write_place

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def rendering(folder: Path, num_places: int, processes: int) -> Iterator["Rendering"]:
    """Render places 0 to num_places - 1 while the with block runs, and stop at its end."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))  # inherited by the processes
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_one_thread) as pool:
        futures = {place: pool.submit(write_place, folder, place) for place in range(num_places)}
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
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


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)
