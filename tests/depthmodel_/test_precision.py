"""Full precision inside, and everything as it was after."""

import pytest
import torch
from torch.backends import cudnn

from nightrain.depthmodel.precision import at_least_float32, exact_convolutions, full_precision


def settings() -> tuple[object, ...]:
    return (
        cudnn.enabled,
        cudnn.benchmark,
        cudnn.benchmark_limit,
        cudnn.deterministic,
        cudnn.allow_tf32,
        torch._C._get_fp32_precision_getter("cuda", "conv"),
        torch._C._get_fp32_precision_getter("cuda", "all"),
    )


def test_autocast_is_off_inside_only() -> None:
    x = torch.rand(2, 2)
    for context in (full_precision, exact_convolutions):
        with torch.autocast("cpu", torch.bfloat16):
            with context("cpu"):
                assert (x @ x).dtype == torch.float32
            assert (x @ x).dtype == torch.bfloat16
        with context("meta"):
            pass


@pytest.mark.parametrize("allowed", [True, False])
def test_tensor_float_is_off_inside_only(allowed: bool) -> None:
    """The flags are there without a GPU; that they act needs one."""
    first = cudnn.allow_tf32
    try:
        cudnn.allow_tf32 = allowed
        before = settings()
        with pytest.raises(KeyError), exact_convolutions("cuda"):
            assert not cudnn.allow_tf32 and cudnn.enabled == before[0]
            raise KeyError
        assert settings() == before
        with exact_convolutions("cpu"):
            assert settings() == before
    finally:
        cudnn.allow_tf32 = first


def test_only_half_precision_is_widened() -> None:
    for given, expected in (
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        assert at_least_float32(torch.ones(2, dtype=given)).dtype == expected
