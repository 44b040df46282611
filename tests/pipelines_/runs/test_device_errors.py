"""Errors of a GPU in the words of torch and its libraries, raised as each of their types."""

import errno
import pickle

import pytest
import torch

from nightrain.datasets.errors import DamagedInput, Reason, RunFailure
from nightrain.pipelines.runs.batches import isolate_failures, raise_if_it_ends_the_run
from nightrain.pipelines.runs.device_errors import is_device_lost, is_out_of_memory

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if ..."),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
    MemoryError(),
]
LOST = [
    RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors ..."),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: misaligned address"),
    RuntimeError("CUDA error: the launch timed out and was terminated"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
]
OF_A_SAMPLE = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x3 and 4x5)"),
    RuntimeError("CUDA error: invalid configuration argument"),
    ValueError("the device-side assert of a form"),
    OSError(errno.ENOMEM, "Cannot allocate memory", "/data/x"),
    DamagedInput(Reason.BAD_OUTPUT, "out of range"),
]


def words(error: Exception) -> str:
    return str(error)[:40] or type(error).__name__


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=words)
def test_memory_that_ran_out(error: Exception) -> None:
    assert is_out_of_memory(error) and not is_device_lost(error)
    assert is_out_of_memory(chained(error))


@pytest.mark.parametrize("error", LOST, ids=words)
def test_a_lost_device_ends_the_run_in_a_sentence(error: Exception) -> None:
    assert is_device_lost(error) and not is_out_of_memory(error)
    for raised in (error, chained(error)):
        with pytest.raises(RunFailure, match=r"^The GPU failed \(.*nvidia-smi") as found:
            raise_if_it_ends_the_run(raised)
        assert "\n" not in str(found.value)
        assert str(pickle.loads(pickle.dumps(found.value))) == str(found.value)  # from a worker


@pytest.mark.parametrize("error", OF_A_SAMPLE, ids=words)
def test_other_errors_are_those_of_a_sample(error: Exception) -> None:
    assert not is_device_lost(error) and not is_out_of_memory(error)
    raise_if_it_ends_the_run(error)


def chained(error: Exception) -> Exception:
    """The error as a compiler raises it: as the cause of another one."""
    try:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("backend 'inductor' failed") from cause
    except RuntimeError as outer:
        return outer


class TestBatchesThatFailAsAWhole:
    """What all items of a batch meet is a failure of the run, if they have several origins."""

    def run(self, items: list[str], *messages: str, origins: int = 2) -> list[object]:
        failures = iter(messages)

        def fail(_: object) -> list[str]:
            raise ValueError(next(failures))

        def origin(item: str) -> int:
            return items.index(item) % origins

        return [*isolate_failures(items, fail, origin=origin)]

    def test_all_alike(self) -> None:
        with pytest.raises(RunFailure, match=r"All 2 samples .* alike.*ValueError: no style"):
            self.run(["a", "b"], "batch", "no style", "no style")

    def test_ids_and_addresses_do_not_count(self) -> None:
        ids = "0123456789abcdef0123", "fedcba98765432100123"
        with pytest.raises(RunFailure):
            self.run(
                [*ids], "batch", *(f"sample {name!r} at 0x{name[:8]} has none" for name in ids)
            )

    def test_different_errors_are_those_of_the_items(self) -> None:
        assert len(self.run(["a", "b"], "batch", "too dark", "too wide")) == 2

    @pytest.mark.parametrize(
        "numbers",
        [("1234567890123456", "6543210987654321"), ("12345678901234567890", "9" * 20), ("7", "8")],
    )
    def test_numbers_do_count(self, numbers: tuple[str, str]) -> None:
        messages = (f"found {number} pixels, expected 4" for number in numbers)
        assert len(self.run(["a", "b"], "batch", *messages)) == 2

    def test_variants_of_one_frame_may_share_its_fault(self) -> None:
        assert len(self.run(["a", "b"], "batch", "odd", "odd", origins=1)) == 2

    def test_one_item_cannot_tell(self) -> None:
        assert len(self.run(["a"], "odd")) == 1

    def test_damaged_inputs_are_those_of_the_items(self) -> None:
        damaged = DamagedInput(Reason.BAD_OUTPUT, "the image is black")
        outcomes = isolate_failures([1, 2], lambda items: [damaged, damaged], origin=lambda i: i)
        assert outcomes == [damaged, damaged]
