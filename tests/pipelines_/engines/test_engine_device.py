"""Device of an engine: used, or refused in words; with faked devices."""

import logging

import pytest
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
from nightrain.pipelines.engines.torch_engine import choose_device
from support.tiny_diffusion import settings


def pretend(monkeypatch: pytest.MonkeyPatch, *available: str) -> None:
    """Make torch report only these kinds of devices."""
    for kind in ("cuda", "mps", "xpu"):
        monkeypatch.setattr(getattr(torch, kind), "is_available", lambda k=kind: k in available)


@pytest.mark.parametrize(
    ("name", "words"), [("mps", "float64"), ("xpu:1", "Intel"), ("tpu", "tpu")]
)
def test_other_devices_are_refused_in_words(name: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"{words}.*Use cuda or cpu"):
        DiffusionEngine(settings(), device=name)


@pytest.mark.parametrize(("kind", "words"), [("mps", "Apple"), ("xpu", "Intel")])
def test_a_gpu_that_is_not_used_is_named(
    kind: str, words: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, kind)
    with caplog.at_level(logging.WARNING):
        engine = DiffusionEngine(settings())
    assert engine.device_name() == "cpu" and engine.device_id() == ""
    assert f"the GPU here is {words}" in caplog.text


def test_a_cuda_gpu_is_used_without_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, "cuda", "xpu")
    assert choose_device() == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    pretend(monkeypatch)
    assert choose_device() == torch.device("cpu")
    assert not caplog.text
