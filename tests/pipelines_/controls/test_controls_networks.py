"""Depth networks of the true layout by the ordinary path, and controlnet-aux's detectors."""

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForDepthEstimation

from nightrain.datasets.errors import DamagedInput, InvalidRequest, RunFailure, WrongPolarity
from nightrain.datasets.shards.control_maps import ControlMap
from nightrain.depthmodel.weights import Weights
from nightrain.pipelines.controls import detectors, networks
from nightrain.pipelines.controls.control_image import depth_control
from nightrain.pipelines.controls.depth_source import LEAST_DEPTH_M, ImageWindow, at_size
from nightrain.pipelines.controls.detectors import MidasDepth, detector_edges
from nightrain.pipelines.controls.map_shard import make_maps
from nightrain.pipelines.controls.networks import NetworkDepth
from nightrain.pipelines.controls.tiles import TiledDepth
from support.tiny_depth_networks import (
    save_depth_anything,
    save_dpt,
    save_road_dpt,
    save_zoedepth,
)

K = np.array([[50.0, 0.0, 44.5], [0.0, 50.0, 24.5], [0.0, 0.0, 1.0]])
SIZE = (90, 50)  # no multiple of anything a network likes


def picture() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 255, (5, 9, 3))
    return np.kron(coarse, np.ones((10, 10, 1))).astype(np.uint8)


SCENE = ImageWindow(picture(), K)


def raw_depth(folder: Path) -> np.ndarray:
    """What transformers alone calls the depth of the picture, at the network's own size."""
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModelForDepthEstimation.from_pretrained(folder).eval()
    with torch.no_grad():
        inputs = processor(images=picture(), return_tensors="pt")
        return model(**inputs).predicted_depth[0].numpy()


@pytest.mark.parametrize("save", [save_dpt, save_depth_anything])
def test_relative_networks_already_give_larger_for_nearer(
    tmp_path: Path, save: Callable[[Path], Path]
) -> None:
    folder = save(tmp_path / "net")
    found = NetworkDepth(Weights(str(folder)), device="cpu").depth(SCENE).inverse_depth
    expected = at_size(raw_depth(folder), SIZE)
    assert found.shape == (50, 90) and np.ptp(found) > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_metric_network_is_inverted_before_it_is_resized(tmp_path: Path) -> None:
    folder = save_depth_anything(tmp_path / "net", "metric")
    found = NetworkDepth(Weights(str(folder)), device="cpu").depth(SCENE).inverse_depth
    inverse = 1 / np.maximum(raw_depth(folder), LEAST_DEPTH_M)
    np.testing.assert_allclose(found, at_size(inverse, SIZE), rtol=1e-4, atol=1e-5)
    assert found.max() <= 1 / LEAST_DEPTH_M + 1e-4


def test_zoedepth_loses_its_padding_and_is_metric(tmp_path: Path) -> None:
    folder = save_zoedepth(tmp_path / "net")
    found = NetworkDepth(Weights(str(folder)), device="cpu").depth(SCENE).inverse_depth
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModelForDepthEstimation.from_pretrained(folder).eval()
    with torch.no_grad():
        outputs = model(**processor(images=picture(), return_tensors="pt"))
    metric = processor.post_process_depth_estimation(outputs, source_sizes=[(50, 90)])
    expected = 1 / metric[0]["predicted_depth"].numpy()
    assert found.shape == (50, 90) == expected.shape and np.ptp(found) > 0.01
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999
    np.testing.assert_allclose(found, expected, rtol=0.05)  # cubic of 1/z is not 1 / cubic of z


def test_the_same_network_said_to_be_metric_is_turned_round(tmp_path: Path) -> None:
    folder = save_dpt(tmp_path / "net")
    as_inverse, as_metric = (
        NetworkDepth(Weights(str(folder)), gives=gives, device="cpu")
        for gives in ("inverse", "metric")
    )
    raw = raw_depth(folder)
    assert raw.min() >= 0
    expected = at_size(1 / np.maximum(raw, LEAST_DEPTH_M), SIZE)
    np.testing.assert_allclose(as_metric.depth(SCENE).inverse_depth, expected, rtol=1e-4)
    assert as_inverse.name != as_metric.name and str(tmp_path) not in as_inverse.name


@pytest.mark.parametrize(
    ("config", "gives"),
    [
        (SimpleNamespace(model_type="depth_pro"), "inverse"),
        (SimpleNamespace(model_type="zoedepth"), "metric"),
        (SimpleNamespace(model_type="depth_anything", depth_estimation_type="relative"), "inverse"),
        (SimpleNamespace(model_type="depth_anything", depth_estimation_type="metric"), "metric"),
    ],
)
def test_every_known_family_has_its_polarity(config: SimpleNamespace, gives: str) -> None:
    assert networks._gives(config) == gives


def test_an_unknown_family_is_asked_about_and_not_guessed() -> None:
    with pytest.raises(InvalidRequest, match=r"family 'novel'.*gives to 'metric'"):
        networks._gives(SimpleNamespace(model_type="novel"))


def test_depth_pro_gives_canonical_inverse_depth() -> None:
    """transformers takes 1/x of what Depth Pro gives to have metres, so x is larger for nearer."""
    from transformers import DepthProImageProcessor
    from transformers.models.depth_pro.modeling_depth_pro import DepthProDepthEstimatorOutput

    raw = torch.tensor([[[0.5, 0.1]]])
    outputs = DepthProDepthEstimatorOutput(predicted_depth=raw)  # type: ignore[arg-type]
    (found,) = DepthProImageProcessor().post_process_depth_estimation(outputs)
    assert found["predicted_depth"].flatten().tolist() == pytest.approx([2.0, 10.0])


def test_a_network_that_gives_no_numbers_is_named(tmp_path: Path) -> None:
    folder = save_dpt(tmp_path / "net")
    model = AutoModelForDepthEstimation.from_pretrained(folder)
    with torch.no_grad():
        model.head.head[4].bias.fill_(float("nan"))
    model.save_pretrained(folder)
    with pytest.raises(DamagedInput, match="not finite"):
        NetworkDepth(Weights(str(folder)), device="cpu").depth(SCENE)


def test_networks_are_picklable_tileable_and_loaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = NetworkDepth(Weights(str(save_dpt(tmp_path / "net"))), device="cpu")
    assert pickle.loads(pickle.dumps(source)) == source
    loads: list[Path] = []
    original = AutoModelForDepthEstimation.from_pretrained

    def counted(folder: Path, **options: object) -> object:
        loads.append(folder)
        return original(folder, **options)

    monkeypatch.setattr(AutoModelForDepthEstimation, "from_pretrained", counted)
    found = TiledDepth(source, grid=2).depth(SCENE)
    assert found.inverse_depth.shape == (50, 90) and len(loads) == 1


def test_missing_weights_are_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InvalidRequest, match="hf download Intel/dpt-large"):
        NetworkDepth(Weights("Intel/dpt-large"), offline=True).depth(SCENE)
    with pytest.raises(InvalidRequest, match=r"--include dpt_hybrid-midas-501f0c75\.pt"):
        MidasDepth(offline=True).depth(SCENE)
    with pytest.raises(InvalidRequest, match=r"has no file ControlNetHED\.pth"):
        detectors.load_edges("hed", Weights(str(tmp_path)))


# controlnet-aux


class RoadNetwork(torch.nn.Module):
    """Inverse depth that grows downwards and follows the red of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(pixels.shape))
        assert pixels.min() >= -1 and pixels.max() <= 1
        down = torch.linspace(0, 20, pixels.shape[2])[None, :, None]
        return self.weight * (down + pixels[:, 0])  # (1, h, w)


def test_midas_sees_the_picture_in_its_own_aspect_and_gives_floats() -> None:
    network = RoadNetwork()
    source = MidasDepth(detector=SimpleNamespace(model=network), short_side_px=160)
    red = np.zeros((90, 160, 3), np.uint8)
    red[:, 80:, 0] = 255
    found = source.depth(ImageWindow(red, K)).inverse_depth
    assert network.shapes == [(1, 3, 160, 288)]  # controlnet-aux alone would take 192 x 256
    assert found.shape == (90, 160) and found.dtype == np.float32
    assert len(np.unique(found)) > 256  # 8 bits would be no depth but a picture of one
    step = found[45, 84:].mean() - found[45, :76].mean()
    assert step == pytest.approx(2.0, abs=0.01) and found[45, 90] - found[45, 82] < 0.05
    control = depth_control(source, ImageWindow(red, K), (200, 112))
    assert control.shape == (112, 200, 3) and control[-1].mean() > 200 > 50 > control[0].mean()


def test_a_flipped_midas_is_caught() -> None:
    network = RoadNetwork()
    torch.nn.init.constant_(network.weight, -1.0)
    source = MidasDepth(detector=SimpleNamespace(model=network))
    with pytest.raises(WrongPolarity, match="inverted"):
        depth_control(source, SCENE, SIZE)


@pytest.mark.slow
def test_controlnet_aux_loads_midas_and_hed_from_a_folder(tmp_path: Path) -> None:
    """The true DPT-Hybrid (123 M) and HED with random weights, through their own loader."""
    import warnings

    aux = detectors.import_controlnet_aux()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from controlnet_aux.hed import ControlNetHED_Apache2
        from controlnet_aux.midas.midas.dpt_depth import DPTDepthModel

        torch.manual_seed(0)
        midas = DPTDepthModel(path=None, backbone="vitb_rn50_384", non_negative=True)
    torch.save(midas.state_dict(), tmp_path / detectors.FILES["MidasDetector"])
    torch.save(ControlNetHED_Apache2().state_dict(), tmp_path / detectors.FILES["HEDdetector"])
    del midas

    source = MidasDepth(Weights(str(tmp_path)), short_side_px=96, device="cpu")
    found = source.depth(SCENE).inverse_depth
    assert found.shape == (50, 90) and np.ptp(found) > 0
    assert isinstance(
        detectors.load_detector("MidasDetector", source.model, "cpu", None), aux.MidasDetector
    )

    hed = detectors.load_edges("hed", Weights(str(tmp_path)), "cpu")
    edges = detector_edges(hed, picture(), SIZE)
    assert edges.shape == (50, 90, 3) and edges.dtype == np.uint8


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_code_in_a_detectors_weights_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the loader or the environment asks for."""

    class Careless:
        @staticmethod
        def from_pretrained(folder: str, filename: str) -> object:
            return torch.load(Path(folder, filename), weights_only=False)

    monkeypatch.setenv(detectors.FORCE_NOT, "1")
    torch.save({"weight": torch.ones(2)}, tmp_path / "good.pth")
    assert "weight" in detectors._load(Careless, tmp_path / "good.pth")
    torch.save(Bomb(tmp_path / "ran"), tmp_path / "bad.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "good.pth").read_bytes()[:99])
    for name in ("bad.pth", "cut.pth"):
        with pytest.raises(InvalidRequest, match=f"{name} is not a weights file of Careless"):
            detectors._load(Careless, tmp_path / name)
    assert not (tmp_path / "ran").exists()
    assert os.environ[detectors.FORCE_NOT] == "1" and detectors.FORCE not in os.environ


def test_detector_edges_come_at_the_asked_size() -> None:
    asked: list[tuple[int, ...]] = []

    def rounding(image: np.ndarray, **options: object) -> np.ndarray:
        asked.append(image.shape)
        edges = cv2.Canny(cv2.resize(image, (128, 64)), 100, 200)  # sides rounded to 64
        assert options["output_type"] == "np"
        return np.repeat(edges[:, :, None], 3, axis=2)

    image = np.zeros((90, 160, 3), np.uint8)
    image[:, 80:] = 255
    edges = detector_edges(rounding, image, (120, 66))
    assert asked == [(66, 120, 3)] and edges.shape == (66, 120, 3)
    assert abs(int(edges.sum(axis=(0, 2)).argmax()) - 60) <= 1


class Room:
    """A device on which batches of at most `most` images fit, and a seam to watch its streams."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, words: str = "") -> None:
        self.most, self.words = most, words
        self.sizes: list[int] = []
        self.is_beside = False
        monkeypatch.setattr(networks, "batch_size_on", lambda device: 4)
        monkeypatch.setattr(detectors, "batch_size_on", lambda device: 4)
        monkeypatch.setattr(networks, "on_side_stream", self.stream)
        monkeypatch.setattr(detectors, "on_side_stream", self.stream)

    @contextmanager
    def stream(self, device: object) -> Iterator[None]:
        self.is_beside = True
        yield
        self.is_beside = False

    def take(self, num_images: int) -> None:
        """Called by a network with the size of its batch."""
        assert self.is_beside
        self.sizes.append(num_images)
        if num_images > self.most:
            raise RuntimeError(self.words or "CUDA error: out of memory")


def watched_network(folder: Path, room: Room) -> NetworkDepth:
    source = NetworkDepth(Weights(str(save_road_dpt(folder))), device="cpu")
    model = networks._load(source).model
    model.register_forward_pre_hook(lambda *given: room.take(len(given[1][0])))
    return source


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_memory_that_runs_out_halves_the_batch_of_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    room = Room(monkeypatch, most=2, words=words)
    source = watched_network(tmp_path / words[:9], room)
    images = [np.roll(picture(), shift, axis=1) for shift in range(5)]
    maps = make_maps(source, images)
    assert all(isinstance(one, ControlMap) for one in maps)
    assert room.sizes == [4, 2, 2, 4, 2]  # the last image is the one that fills up
    tiled = TiledDepth(source, 2).depth(SCENE)
    assert tiled.inverse_depth.shape == picture().shape[:2] and max(room.sizes[5:]) == 4


def test_memory_for_not_even_one_image_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = watched_network(tmp_path / "net", Room(monkeypatch, most=0))
    with pytest.raises(RunFailure, match=r"All 2 samples of a batch failed alike.*out of memory"):
        make_maps(source, [picture(), picture()])


def test_midas_halves_its_batch_and_runs_on_the_side_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = Room(monkeypatch, most=2)

    class Rows(torch.nn.Module):
        """Inverse depth that grows downwards."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            room.take(len(pixels))
            down = torch.linspace(0, 1, pixels.shape[2])[None, :, None]
            return self.scale * down.expand(len(pixels), -1, pixels.shape[3])

    source = MidasDepth(detector=SimpleNamespace(model=Rows()), short_side_px=32)
    assert all(isinstance(one, ControlMap) for one in make_maps(source, [picture()] * 4))
    assert room.sizes == [4, 2, 2]


def test_a_network_that_does_not_fit_or_is_damaged_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_dpt(tmp_path / "net")
    source = NetworkDepth(Weights(str(folder)), device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr("transformers.DPTForDepthEstimation.to", full)
        with pytest.raises(InvalidRequest, match=r"depth network .*net does not fit into memory"):
            source.depth(SCENE)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InvalidRequest, match=r"depth network .*net cannot be loaded"):
        source.depth(SCENE)


def full(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")
