"""Model folders: atomic, durable, bit-exact, named by their content, refused when changed."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nightrain.datasets.errors import DiskFull, InvalidRequest
from nightrain.datasets.io.atomic import make_folder
from nightrain.datasets.io.atomic_folder import ASIDE
from nightrain.datasets.io.process import Owner
from nightrain.depthmodel import tensor_file
from nightrain.depthmodel.config import AuxViewConfig, Kind, PoseConfig, RestorationConfig
from nightrain.depthmodel.decoder_config import StrictConfig
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard, read_card
from nightrain.depthmodel.network.pose import PoseNet
from nightrain.depthmodel.weights import Weights
from support.power_cut import Disk
from support.tiny_depth_models import KINDS, published, tiny_config, tiny_model

CARD = ModelCard(
    title="A tiny | student",
    description="Trained for a test.",
    data_set="world tiny, manifest 0123",
    recipe="weather-1a2b3c4d",
    commit="0" * 40,
    seed=3,
    command="nightrain train-student --seed 3",
    metrics={"night/abs_rel": 0.192, "day-clear/abs_rel": 0.121},
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    tiny_model().save_pretrained(folder, CARD)
    return folder


def edit(folder: Path, change: str) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    if change == "missing":
        del tensors["decoder.logit.bias"]
    elif change == "extra":
        tensors["restoration.weight"] = torch.ones(2)
    elif change == "shape":
        tensors["decoder.logit.bias"] = torch.ones(2)
    else:
        tensors["decoder.logit.bias"] += 1e-3
    save_file(tensors, file)


def test_a_model_in_new_folders_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path, monkeypatch)
    tiny_model().save_pretrained(tmp_path / "new" / "run" / "model", CARD)
    survivor = disk.restore(tmp_path / "restored") / "new" / "run" / "model"
    disk.close()
    assert DepthModel.from_pretrained(survivor).digest == tiny_model().digest
    assert read_card(survivor) == CARD


def test_a_model_can_be_read_by_those_whom_the_umask_allows(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        tiny_model().save_pretrained(tmp_path / "model", CARD)
    finally:
        os.umask(mask)
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "model").iterdir()} == {0o640}


@pytest.mark.parametrize("ending", ["", ASIDE])
def test_what_killed_processes_left_is_removed(saved: Path, ending: str) -> None:
    dead = replace(Owner.me(), pid=2**30).token()
    (saved.parent / f".model.draft-{dead}.00000000{ending}").mkdir()
    tiny_model().save_pretrained(saved, CARD)
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_a_model_that_was_being_replaced_is_found_by_its_readers(saved: Path) -> None:
    """A process was killed after it had moved the old model aside."""
    dead = replace(Owner.me(), pid=2**30).token()
    saved.rename(saved.parent / f".model.draft-{dead}.00000000{ASIDE}")
    assert DepthModel.from_pretrained(saved).digest == tiny_model().digest


@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_comes_back(tmp_path: Path, kind: Kind) -> None:
    model = tiny_model(kind)
    model.train()(torch.rand(2, 3, 56, 112))  # so that the norms have statistics of their own
    model.save_pretrained(tmp_path / "a" / "model", CARD)
    again = DepthModel.from_pretrained(tmp_path / "a" / "model")
    assert not again.training and again.config == model.config
    assert again.digest == model.digest and len(model.digest) == 16
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    image = torch.rand(1, 3, 56, 112)
    assert torch.equal(again(image).inverse_depth, model.eval()(image).inverse_depth)
    assert sorted(p.name for p in tmp_path.rglob("*")) == [
        "README.md",
        "a",
        "config.json",
        "model",
        "model.safetensors",
    ]


def test_saving_twice_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "again", CARD)
    for file in saved.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_the_digest_tells_weights_and_configurations_apart() -> None:
    model = tiny_model()
    seen = {model.digest, tiny_model(seed=1).digest, tiny_model(max_depth_m=50).digest}
    with torch.no_grad():
        model.decoder.logit.bias += 1e-6
    seen.add(model.digest)
    assert len(seen) == 4
    assert tiny_model().digest == tiny_model().digest


def test_a_pretrained_start_is_named_and_not_needed_again(tmp_path: Path) -> None:
    encoder = published(tmp_path / "dino", "dinov2")
    model = DepthModel(tiny_config("dinov2", Weights(str(encoder))))
    model.save_pretrained(tmp_path / "model", CARD)
    shutil.rmtree(encoder)
    again = DepthModel.from_pretrained(tmp_path / "model")
    assert again.digest == model.digest
    assert again.encoder_name == model.encoder_name != "random"
    assert str(tmp_path) not in "".join(
        p.read_text("latin-1") for p in (tmp_path / "model").iterdir()
    )


def test_loading_leaves_the_random_state_alone(saved: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    DepthModel.from_pretrained(saved)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"1 tensors are missing \(decoder\.logit\.bias\)"),
        ("extra", r"1 tensors are not of this network \(restoration\.weight\)"),
        (
            "shape",
            r"1 tensors have another shape \(decoder\.logit\.bias is \(2,\), expected \(1,\)\)",
        ),
        ("value", r"have the digest [0-9a-f]{16}, expected"),
    ],
)
def test_changed_weights_are_refused(saved: Path, change: str, message: str) -> None:
    edit(saved, change)
    with pytest.raises(InvalidRequest, match=message):
        DepthModel.from_pretrained(saved)


def test_a_flipped_bit_is_found(saved: Path) -> None:
    file = saved / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-7] ^= 1
    file.write_bytes(data)
    with pytest.raises(InvalidRequest, match="damaged or changed"):
        DepthModel.from_pretrained(saved)


def test_half_a_file_is_refused(saved: Path) -> None:
    file = saved / "model.safetensors"
    for size in (len(file.read_bytes()) // 2, 4, 0):
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(InvalidRequest, match="cannot be read as safetensors"):
            DepthModel.from_pretrained(saved)


def test_the_configuration_of_another_network_is_refused(saved: Path, tmp_path: Path) -> None:
    tiny_model("convnext").save_pretrained(tmp_path / "other", CARD)
    shutil.copy(tmp_path / "other" / "config.json", saved / "config.json")
    with pytest.raises(InvalidRequest, match=r"is not the network of the config\.json next to it"):
        DepthModel.from_pretrained(saved)
    fields = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(fields | {"model_type": "dpt"}))
    with pytest.raises(InvalidRequest, match="of type 'dpt', expected 'nightrain-depth'"):
        DepthModel.from_pretrained(saved)


def test_a_range_changed_by_hand_is_found(saved: Path) -> None:
    """The tensors fit, the depths would be wrong."""
    fields = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(fields | {"max_depth_m": 100.0}))
    with pytest.raises(InvalidRequest, match="digest"):
        DepthModel.from_pretrained(saved)


def test_what_is_no_model_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="There is no folder"):
        DepthModel.from_pretrained(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequest, match="is not a saved model"):
        DepthModel.from_pretrained(tmp_path / "empty")
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(
        InvalidRequest, match=r"only pytorch_model\.bin, expected model\.safetensors"
    ):
        DepthModel.from_pretrained(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_no_file_outside_the_folder_is_read(saved: Path, tmp_path: Path, name: str) -> None:
    (saved / name).rename(tmp_path / name)
    (saved / name).symlink_to(tmp_path / name)
    with pytest.raises(InvalidRequest, match="resolves to a path outside"):
        DepthModel.from_pretrained(saved)


def test_a_model_replaces_a_model_and_nothing_else(saved: Path, tmp_path: Path) -> None:
    other = tiny_model(seed=1)
    other.save_pretrained(saved, CARD)
    assert DepthModel.from_pretrained(saved).digest == other.digest
    (saved / "notes.txt").write_text("mine")
    with pytest.raises(InvalidRequest, match=r"holds notes\.txt"):
        tiny_model().save_pretrained(saved, CARD)
    assert DepthModel.from_pretrained(saved).digest == other.digest
    with pytest.raises(InvalidRequest, match="is not a folder"):
        tiny_model().save_pretrained(saved / "notes.txt", CARD)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what os.fsync was called on, in order."""
    names: list[str] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return names


def test_files_and_folders_are_on_the_disk_before_the_model_is_in_its_place(
    tmp_path: Path, synced: list[str]
) -> None:
    make_folder(tmp_path)
    del synced[:]
    tiny_model().save_pretrained(tmp_path / "model", CARD)
    *files, folder, parent = synced
    assert sorted(files) == ["README.md", "config.json", "model.safetensors"]
    assert folder.startswith(".model.") and parent == tmp_path.name
    del synced[:]
    PoseNet(PoseConfig(size="test", hidden_channels=4)).save_pretrained(tmp_path / "pose")
    *files, folder, parent = synced
    assert sorted(files) == ["config.json", "model.safetensors"]
    assert folder.startswith(".pose.") and parent == tmp_path.name


def test_a_pose_network_has_the_same_folder_and_the_same_checks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PoseNet(PoseConfig(size="test", hidden_channels=4)).eval()
    network.save_pretrained(tmp_path / "pose")
    again = PoseNet.from_pretrained(tmp_path / "pose")
    pair = torch.rand(2, 1, 3, 64, 96)
    assert torch.equal(again(*pair), network(*pair)) and again.config == network.config
    file = tmp_path / "pose" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-7] ^= 1
    file.write_bytes(data)
    with pytest.raises(InvalidRequest, match="damaged or changed"):
        PoseNet.from_pretrained(tmp_path / "pose")
    tiny_model().save_pretrained(tmp_path / "model", CARD)
    with pytest.raises(InvalidRequest, match="is not a saved pose network"):
        PoseNet.from_pretrained(tmp_path / "model")


def test_a_failure_leaves_the_earlier_model(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = DepthModel.from_pretrained(saved).digest
    other = tiny_model(seed=1)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_file, "save_file", full)
    with pytest.raises(DiskFull):
        other.save_pretrained(saved, CARD)
    assert DepthModel.from_pretrained(saved).digest == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.decoder.logit.bias.fill_(float("nan"))
    with pytest.raises(InvalidRequest, match=r"NaN or infinity \(decoder\.logit\.bias\)"):
        model.save_pretrained(tmp_path / "model", CARD)
    assert not list(tmp_path.iterdir())


def test_the_card_is_for_people_and_machines(saved: Path) -> None:
    assert read_card(saved) == CARD
    text = (saved / "README.md").read_text()
    digest = DepthModel.from_pretrained(saved).digest
    for said in (digest, "| night/abs_rel | 0.192 |", CARD.command, CARD.commit, CARD.recipe):
        assert said in text
    assert text.count("\n| Digest |") == 1 and "random" in text
    for damaged in ("", "---\n[\n---\n", "---\na: 1\n---\n", "---\nnightrain: 3\n---\n"):
        (saved / "README.md").write_text(damaged or " ")
        with pytest.raises(InvalidRequest, match="not a nightrain model card"):
            read_card(saved)


def test_the_card_says_whose_each_part_is(tmp_path: Path) -> None:
    view = AuxViewConfig(max_disparity_px=24.0)
    added = {"restoration": RestorationConfig(base_channels=8), "auxview": view}
    wholes = {"decoder": StrictConfig(hidden_channels=8, condition_channels=8), **added}
    texts = []
    for parts in ({}, wholes):
        model = DepthModel(tiny_config(input_size=(64, 64), **parts))
        model.save_pretrained(tmp_path / "model", CARD)
        texts.append((tmp_path / "model" / "README.md").read_text())
    plain, whole = texts
    assert "| decoder | published: DPT" in plain and "restoration" not in plain
    assert "| decoder | new: isometries" in whole
    assert "| restoration | IID-RDepth" in whole and "| auxiliary view | IID-RDepth" in whole
