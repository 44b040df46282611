"""Process-wide settings: freed buffers stay in the process; OpenCV and BLAS use one thread."""

import ctypes

import cv2
from threadpoolctl import threadpool_limits

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
KEPT_BYTES, LARGEST_KEPT_BYTES = 256 * 2**20, 30 * 2**20


def set_up_process() -> None:
    """Keep freed memory, and run OpenCV and BLAS on one thread; call it before threads start."""
    keep_freed_pages()
    # One core per shard: images this small gain nothing from threads, which would wait for a core
    # that another shard, or Prefect, is using. Those of OpenBLAS spin while they wait, for some 60
    # ms after each product.
    cv2.setNumThreads(1)
    threadpool_limits(1, user_api="blas")


def keep_freed_pages() -> bool:
    """Let glibc's malloc keep up to 256 MiB of freed memory; return False if malloc is not glibc's.

    A variant needs dozens of buffers of some megabytes. By default each of them is returned to the
    kernel and faulted in again page by page, which costs a third of the engine's time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # Arenas of other threads have heaps of 64 MiB and return them whatever the thresholds are.
    wanted = (
        (M_TRIM_THRESHOLD, KEPT_BYTES),
        (M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES),
        (M_ARENA_MAX, 1),
    )
    return all(mallopt(name, value) for name, value in wanted)
