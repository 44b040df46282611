"""Depth completion by the built-in weights: identities, bounds and its refusals."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nightrain.datasets.errors import DamagedInput, InvalidRequest, Reason
from nightrain.depthmodel.completion.complete import (
    WEIGHTS,
    CompletedDepth,
    load_completer,
    save_weights,
    weights_digest,
)
from nightrain.depthmodel.completion.inputs import MASK, completion_inputs, planes_of, working_size
from nightrain.depthmodel.completion.network import CompletionNetwork
from nightrain.depthmodel.completion.returns import bounded, may_be_sky, propagated
from nightrain.depthmodel.package_weights import check_package, package_folder

SIZE = (320, 192)  # width, height


def street() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (H, W, 3), exact depth (H, W) with sky = inf, and every 8th row of it as returns."""
    rows, columns = np.indices((SIZE[1], SIZE[0]))
    down = (rows - 90.0) / 240
    depth_m = np.where(down > 0, 1.6 / np.maximum(down, 1e-6), np.inf)
    wall = (columns < 110) & (rows > 20)
    depth_m = np.where(wall, np.minimum(depth_m, 12.0), np.minimum(depth_m, 70.0))
    sky = ~wall & (rows < 88)
    image = np.where(sky[..., None], (150, 185, 225), (95, 92, 90)).astype(np.uint8)
    image[wall] = (140, 80, 60)
    depth_m = np.where(sky, np.inf, depth_m).astype(np.float32)
    hit = np.isfinite(depth_m) & (rows % 8 == 3) & (rows > 70)
    return image, depth_m, np.where(hit, depth_m, 0).astype(np.float32)


@pytest.fixture(scope="module")
def completed() -> CompletedDepth:
    image, _, sparse_m = street()
    return load_completer().complete(image, sparse_m)


def test_depth_is_dense_and_near_the_truth(completed: CompletedDepth) -> None:
    _, exact_m, sparse_m = street()
    known = np.isfinite(exact_m) & ~completed.is_sky
    error = np.abs(completed.solid_m - exact_m)[known] / exact_m[known]
    assert np.isfinite(completed.solid_m).all() and (completed.solid_m > 0).all()
    assert np.median(error) < 0.03 and completed.is_sky[exact_m == np.inf].mean() > 0.8
    assert not completed.is_sky[sparse_m > 0].any()


def test_trusted_returns_are_kept(completed: CompletedDepth) -> None:
    _, _, sparse_m = street()
    hit = sparse_m > 0
    error = np.abs(completed.solid_m - sparse_m)[hit] / sparse_m[hit]
    assert np.median(error) < 0.01 and np.quantile(error, 0.9) < 0.05


def test_confidence_is_a_probability_that_tells_near_returns_from_none(
    completed: CompletedDepth,
) -> None:
    confidence = completed.confidence
    assert (confidence > 0).all() and (confidence <= 1).all()
    assert confidence[100:, 150:].mean() > confidence[30:60, :100].mean() + 0.1


def test_the_result_has_any_size_and_is_the_same_each_time() -> None:
    image, _, sparse_m = street()
    image, sparse_m = image[7:, 3:], np.ascontiguousarray(sparse_m[7:, 3:])
    first, again = (load_completer().complete(image, sparse_m) for _ in range(2))
    assert first.depth_m.shape == sparse_m.shape == first.confidence.shape
    assert first.depth_m.tobytes() == again.depth_m.tobytes()


def test_working_sizes_are_multiples_of_32_of_about_equal_area() -> None:
    assert working_size((1600, 900)) == (384, 224)
    assert working_size((1242, 375)) == (544, 160)
    assert working_size((448, 256)) == (384, 224)
    assert working_size((100, 60)) == (96, 64)


def test_without_returns_the_network_stays_finite_and_completion_refuses() -> None:
    image, _, sparse_m = street()
    with pytest.raises(DamagedInput) as refused:
        load_completer().complete(image, np.zeros_like(sparse_m))
    assert refused.value.reason == Reason.NO_DEPTH
    planes = planes_of(image, np.zeros_like(sparse_m), np.full_like(sparse_m, 20.0))
    with torch.inference_mode():
        output = load_completer().network(torch.zeros(1, 3, SIZE[1], SIZE[0]), planes[None])
    assert all(bool(part.isfinite().all()) for part in output) and bool((output.scale > 0).all())
    with pytest.raises(ValueError, match="do not match"):
        load_completer().complete(image[1:], sparse_m)


def test_an_untrained_network_returns_the_classical_completion() -> None:
    image, _, sparse_m = street()
    tensor, planes = completion_inputs(image, sparse_m, SIZE)
    with torch.inference_mode():
        output = CompletionNetwork().eval()(tensor[None], planes[None])
    torch.testing.assert_close(output.log_depth[0, 0], planes[0] + 2.7)
    assert bool(planes[MASK].sum() > 100)


def test_returns_correct_their_surface_alone_and_bound_it() -> None:
    log_depth = np.full((20, 20), np.log(10.0), np.float32)
    log_depth[:, 12:] = np.log(40.0)
    mask, measured = np.zeros((20, 20), bool), np.zeros((20, 20), np.float32)
    mask[10, 10], measured[10, 10] = True, np.log(10.5)
    moved, scale = propagated(log_depth, np.full_like(log_depth, 0.1), measured, mask)
    assert abs(moved[10, 10] - np.log(10.5)) < 2e-3 and moved[10, 9] > np.log(10.2)
    assert np.allclose(moved[:, 12:], log_depth[:, 12:]) and scale[10, 10] < 0.06
    measured[10, 10] = np.log(30.0)  # from behind the object: not trusted
    assert np.allclose(propagated(log_depth, scale, measured, mask)[0], log_depth)
    mask[4], measured[4], mask[12], measured[12] = True, np.log(10.0), True, np.log(11.0)
    limited = bounded(np.full((20, 20), np.log(100.0), np.float32), measured, mask)
    assert np.exp(limited[8, 2]) < 11.0 * 1.11 and np.isclose(np.exp(limited[1, 2]), 100.0)
    assert may_be_sky(mask)[:3].all() and not may_be_sky(mask)[4:].any()


def test_the_weights_match_their_sums_and_changed_ones_are_refused(tmp_path: Path) -> None:
    folder = package_folder(WEIGHTS)
    check_package(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size < 12 * 1024 * 1024 and len(weights_digest()) == 12
    copy = Path(shutil.copytree(folder, tmp_path / "weights"))
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(InvalidRequest, match=r"model\.safetensors was cut or changed") as refused:
        load_completer(str(copy))
    assert "\n" not in str(refused.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_weights(torch.nn.Linear(2, 2), tmp_path, 1.0)
    with pytest.raises(InvalidRequest, match="do not fit the completion network"):
        load_completer(str(tmp_path))


def test_saved_weights_compute_nearly_the_same(tmp_path: Path) -> None:
    network = CompletionNetwork().eval()
    torch.nn.init.normal_(network.last.weight, std=0.01)
    save_weights(network, tmp_path, 1.5)
    loaded = load_completer(str(tmp_path))
    image, _, sparse_m = street()
    tensor, planes = completion_inputs(image, sparse_m, SIZE)
    with torch.inference_mode():
        ours, theirs = (n(tensor[None], planes[None]) for n in (network, loaded.network))
    assert loaded.scale_factor == 1.5
    torch.testing.assert_close(ours.log_depth, theirs.log_depth, rtol=2e-3, atol=2e-3)
