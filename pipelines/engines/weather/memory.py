"""Keep freed picture buffers in the process instead of handing them back to the kernel."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
KEPT_BYTES, LARGEST_KEPT_BYTES = 256 * 2**20, 30 * 2**20


def keep_freed_pages() -> bool:
    """Let glibc's malloc keep up to 256 MiB of freed memory; False where malloc is not glibc's.

    A variant makes dozens of pictures of some megabytes. By default each of them goes back to
    the kernel and is faulted in again page by page, which costs a third of the engine's time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # The arenas of other threads have heaps of 64 MiB and give them back however this is set.
    wanted = (
        (M_TRIM_THRESHOLD, KEPT_BYTES),
        (M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES),
        (M_ARENA_MAX, 1),
    )
    return all(mallopt(name, value) for name, value in wanted)
