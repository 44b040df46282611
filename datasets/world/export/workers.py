"""Parallel rendering of scenes; any number of processes gives the same bytes."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext
from pathlib import Path

import cv2

from nightrain.datasets.errors import NightrainError
from nightrain.datasets.world.export.plan import ScenePlan
from nightrain.datasets.world.export.recorder import write_scene
from nightrain.datasets.world.export.world_folder import FailedScene, WorldFolder

POLL_S = 0.1
_OF_THE_MACHINE = (OSError, MemoryError, NightrainError)  # errors that are no fault of a scene
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def render_scenes(
    world: WorldFolder, plans: Sequence[ScenePlan], processes: int, on_image: Callable[[int], None]
) -> list[FailedScene]:
    """Render scenes and commit each to `world`; return those that failed, in the plans' order.

    `on_image` receives the number of finished images. An error of the disk or of the memory ends
    the run, and so does a process that was killed (NightrainError); committed scenes stay.
    """
    if processes > 1 and len(plans) > 1:
        return _side_by_side(world, plans, min(processes, len(plans)), on_image)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        on_image(done)

    found = [_attempt(world, plan, count) for plan in plans]
    return [failed for failed in found if failed is not None]


def _attempt(
    world: WorldFolder, plan: ScenePlan, on_image: Callable[[], None]
) -> FailedScene | None:
    """Render and commit a scene; return its failure if the fault is the renderer's."""
    raised: list[BaseException] = []  # by the caller's own function: a stop, for example

    def count() -> None:
        try:
            on_image()
        except BaseException as error:
            raised.append(error)
            raise

    try:
        world.commit(plan.name, lambda folder: write_scene(folder, plan, count))
    except Exception as error:
        if raised or isinstance(error, _OF_THE_MACHINE):
            error.add_note(f"while scene {plan.name} was rendered")
            raise
        world.discard(plan.name)
        return _failure(plan, error)
    return None


def _failure(plan: ScenePlan, error: Exception) -> FailedScene:
    frames = traceback.extract_tb(error.__traceback__)
    frame = [frame for frame in frames if "nightrain" in frame.filename or frame is frames[0]][-1]
    return FailedScene(
        name=plan.name,
        place=plan.place,
        condition=str(plan.spec.condition),
        error=f"{type(error).__name__}: {error}",
        where=f"{'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno}",
    )


def _side_by_side(
    world: WorldFolder, plans: Sequence[ScenePlan], processes: int, on_image: Callable[[int], None]
) -> list[FailedScene]:
    context = multiprocessing.get_context("spawn")
    shared = _Shared(context)
    pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(shared,))
    try:
        with one_thread_each():
            futures = [pool.submit(_work, world.out, plan) for plan in plans]
        waiting = set(futures)
        while waiting:
            ended, waiting = wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED)
            on_image(shared.done.get_obj().value)  # no lock: a killed process may hold it
            for future in ended:
                future.result()  # raises an error of the disk or of the memory
    except BrokenProcessPool as error:
        raise NightrainError(
            "a process that rendered scenes was ended from outside, perhaps because memory ran "
            "out; finished scenes are kept: run the same command again with fewer processes"
        ) from error
    finally:
        shared.stop.set()
        pool.shutdown(cancel_futures=True)
    found = [future.result() for future in futures]
    return [failed for failed in found if failed is not None]


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
            raise NightrainError("rendering was stopped")


_shared: list[_Shared] = []  # the shared state, in a worker process


def _begin(shared: _Shared) -> None:
    begin_worker()
    _shared[:] = [shared]


def begin_worker() -> None:
    """Initialise a worker: the terminal's signals go to the parent, and no worker outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _work(out: Path, plan: ScenePlan) -> FailedScene | None:
    return _attempt(WorldFolder(out), plan, _shared[0].count)


@contextmanager
def one_thread_each() -> Iterator[None]:
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
