"""Parallel rendering of scenes; any number of processes gives the same bytes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext
from pathlib import Path

import cv2

from nightrain.datasets.errors import NightrainError
from nightrain.datasets.world.export.folder import Folder
from nightrain.datasets.world.export.plan import ScenePlan
from nightrain.datasets.world.export.recorder import Tables, write_scene

POLL_S = 0.1
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def render_scenes(
    folder: Folder, plans: Sequence[ScenePlan], processes: int, on_image: Callable[[int], None]
) -> Iterator[Tables]:
    """Render scenes into `folder` and return the tables of each, in the order of the plans.

    `on_image` receives the number of finished images. Re-raises the error of a scene, and raises
    NightrainError where a process was killed; no further scene is started after either.
    """
    if processes > 1 and len(plans) > 1:
        yield from _side_by_side(folder, plans, min(processes, len(plans)), on_image)
        return
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        on_image(done)

    for plan in plans:
        yield write_scene(folder, plan, count)


def _side_by_side(
    folder: Folder, plans: Sequence[ScenePlan], processes: int, on_image: Callable[[int], None]
) -> Iterator[Tables]:
    context = multiprocessing.get_context("spawn")
    shared = _Shared(context)
    pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(shared,))
    try:
        with _one_thread_each():
            futures = [pool.submit(_work, folder.root, plan) for plan in plans]
        waiting = set(futures)
        while waiting:
            ended, waiting = wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED)
            on_image(shared.done.get_obj().value)  # no lock: a killed process may hold it
            for future in ended:
                future.result()  # raises what its scene raised
    except BrokenProcessPool as error:
        raise NightrainError(
            "a process that rendered scenes was ended from outside, perhaps because memory ran "
            "out; nothing was kept: run again with fewer processes"
        ) from error
    finally:
        shared.stop.set()
        pool.shutdown(cancel_futures=True)
    for future in futures:
        tables, written = future.result()
        folder.add(written)
        yield tables


class _Shared:
    """State shared by the processes: the number of images done, and a stop flag."""

    def __init__(self, context: SpawnContext) -> None:
        self.done = context.Value("Q")
        self.stop = context.Event()

    def count(self) -> None:
        """Count one more image; raises when rendering was stopped."""
        with self.done.get_lock():
            self.done.value += 1
        if self.stop.is_set():
            raise NightrainError("another scene failed, or the run was stopped")


_shared: list[_Shared] = []  # the shared state, in a worker process


def _begin(shared: _Shared) -> None:
    """Initialise a worker: the terminal's signals go to the parent, and no worker outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _shared[:] = [shared]
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _work(root: Path, plan: ScenePlan) -> tuple[Tables, Folder]:
    folder = Folder(root)
    try:
        return write_scene(folder, plan, _shared[0].count), folder
    except Exception as error:
        error.add_note(f"while scene {plan.name} was rendered")
        raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit processes started here to one thread each; together they use all cores."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
