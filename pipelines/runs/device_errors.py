"""Errors of a GPU, told apart by their words: memory that ran out, and a device that is lost.

The libraries raise them under several types and in wrappers, so that the words decide. Nothing here
imports torch: the shards of engines without a GPU pass through the same code.
"""

from collections.abc import Iterator

# What torch, cuBLAS, cuDNN, Triton and the system say where an allocation failed. cuDNN answers
# NOT_SUPPORTED, or finds no engine, where no algorithm fits into the memory that is left.
_OUT_OF_MEMORY = (
    "out of memory",
    "alloc_failed",
    "allocation_failed",
    "cudaerrormemoryallocation",
    "cudnn_status_not_supported",
    "unable to find an engine to execute this computation",
    "unable to find a valid cudnn algorithm",
    "not enough memory: you tried to allocate",
    "can't allocate memory",
    "cannot allocate memory",
)
# After these, every further call in the process fails: the CUDA context is gone.
_LOST = (
    "illegal memory access",
    "illegal address",
    "illegal instruction",
    "misaligned address",
    "invalid program counter",
    "unspecified launch failure",
    "launch timed out",
    "launch failed",
    "device-side assert",
    "device assert",
    "uncorrectable ecc",
    "uncorrectable nvlink",
    "hardware stack error",
    "context is destroyed",
    "device is lost",
    "fallen off the bus",
    "gpu is lost",
    "all cuda-capable devices are busy or unavailable",
    "driver shutting down",
    "mapping of buffer object failed",
    "cublas_status_execution_failed",
    "cudnn_status_execution_failed",
    "cudnn_status_mapping_error",
    "cudaerrorillegaladdress",
    "cudaerrorlaunchfailure",
    "cudaerrorassert",
    "cudaerroreccuncorrectable",
    "hsa_status_error",
    "cuda error: unknown error",
    "cuda error: initialization error",
    "no cuda-capable device",
)
_DEVICE_WORDS = ("cuda", "cudnn", "cublas", "hip", "hsa", "gpu", "device", "ecc", "nccl", "xpu")
_DEEPEST = 10  # causes of an error that are looked at


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the device or the host; a smaller batch may fit."""
    return any(
        isinstance(e, MemoryError)
        or type(e).__name__ == "OutOfMemoryError"
        or any(words in str(e).lower() for words in _OUT_OF_MEMORY)
        for e in _causes(error)
        if not isinstance(e, OSError)
    )


def is_device_lost(error: BaseException) -> bool:
    """Whether the GPU's context died, so that all later work of this process would fail, too."""
    if is_out_of_memory(error):
        return False
    return any(_says_lost(str(e).lower()) for e in _causes(error) if isinstance(e, RuntimeError))


def device_lost_words(error: BaseException) -> str:
    """Sentence about a lost device: what happened, and what to do."""
    found = next(str(e) for e in _causes(error) if _says_lost(str(e).lower()))
    return (
        f"The GPU failed ({found.strip().splitlines()[0][:200]}), so the run was ended and the "
        "shard in progress was not committed. Run the same command again; if it fails again, look "
        "at `nvidia-smi -q` and the system log for ECC or Xid errors."
    )


def _says_lost(text: str) -> bool:
    return any(words in text for words in _LOST) and any(words in text for words in _DEVICE_WORDS)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, at most a few."""
    for _ in range(_DEEPEST):
        if error is None:
            return
        yield error
        inner = getattr(error, "inner_exception", None)  # of torch.compile's wrapper
        error = inner or error.__cause__ or error.__context__
