"""Weights are found, named and refused before anything is loaded; no test reaches a network."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.weights import Weights, resolve, weights_name
from support.hub_cache import COMMIT, ONE, cached, model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, of this test alone."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_local_folder_is_found_and_named_by_its_bytes(tmp_path: Path) -> None:
    folder = model(tmp_path / "blip")
    found = resolve(Weights(str(folder)), offline=True)
    assert found.folder == folder and found.name.startswith("blip@") and len(found.name) == 17
    copy = model(tmp_path / "elsewhere" / "blip")
    assert resolve(Weights(str(copy)), offline=True).name == found.name  # not by its place
    for changed in (ONE + 1, ONE[:5], np.append(ONE[:5], np.float32(9))):
        model(copy, changed)
        assert resolve(Weights(str(copy)), offline=True).name != found.name
    model(copy)
    (copy / "config.json").write_text('{"model_type": "other"}')
    assert weights_name(Weights(str(copy))) != found.name


def test_a_linked_folder_is_refused_because_its_bytes_would_not_count(tmp_path: Path) -> None:
    folder, elsewhere = model(tmp_path / "sd [1]"), model(tmp_path / "unet")
    assert resolve(Weights(str(folder))).folder == folder
    (folder / "unet").symlink_to(elsewhere)
    with pytest.raises(InvalidRequest, match=f"is a symbolic link to a folder.*{elsewhere}"):
        resolve(Weights(str(folder)))


def test_a_subfolder_is_a_model_of_its_own(tmp_path: Path) -> None:
    model(tmp_path / "sd" / "unet")
    found = resolve(Weights(str(tmp_path / "sd"), subfolder="unet"))
    assert found.folder == tmp_path / "sd" / "unet" and found.name.endswith("/unet")
    with pytest.raises(InvalidRequest, match="no folder 'vae'"):
        resolve(Weights(str(tmp_path / "sd"), subfolder="vae"))


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_cached_hub_model_is_used_offline_and_named_by_its_commit(
    cache: Path, revision: str | None
) -> None:
    snapshot = cached(cache, "owner/model")
    found = resolve(Weights("owner/model", revision), offline=True)
    assert found.folder == snapshot and found.name == f"owner/model@{COMMIT[:12]}"


def test_offline_follows_the_environment(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cached(cache, "owner/model")
    assert resolve(Weights("owner/model")).name.endswith(COMMIT[:12])
    with pytest.raises(InvalidRequest, match="the network is switched off"):
        resolve(Weights("owner/other"))


def test_a_missing_model_is_one_sentence_with_the_command(cache: Path) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolve(Weights("owner/model", COMMIT), offline=True)
    message = str(refused.value)
    assert f"`hf download owner/model --revision {COMMIT}`" in message and "\n" not in message
    with pytest.raises(InvalidRequest, match=r"--include 'unet/\*\.safetensors'"):
        resolve(Weights("owner/model", subfolder="unet"), offline=True)
    with pytest.raises(InvalidRequest, match=r"--include a\.safetensors"):
        resolve(Weights("owner/model"), offline=True, patterns=["a.safetensors"])


def test_without_a_commit_nothing_is_fetched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def snapshot_download(*_: object, local_files_only: bool, **__: object) -> str:
        asked.append(local_files_only)
        raise OSError("no network in tests")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    for revision in (None, "main", COMMIT):
        with pytest.raises(InvalidRequest, match="hf download owner/model"):
            resolve(Weights("owner/model", revision), offline=False)
    assert asked == [True, True, False]
    with pytest.raises(
        InvalidRequest, match="no commit is named, and only named commits are fetched"
    ):
        weights_name(Weights("owner/model"), offline=False)


def test_a_pinned_model_has_its_name_before_it_is_there(cache: Path) -> None:
    assert weights_name(Weights("owner/model", COMMIT), offline=True) == "owner/model@59a1ef6c1e51"
    with pytest.raises(InvalidRequest):
        weights_name(Weights("owner/model", "main"), offline=True)
    cached(cache, "owner/model")
    assert weights_name(Weights("owner/model"), offline=True) == "owner/model@59a1ef6c1e51"


@pytest.mark.parametrize("where", ["/no/such/folder", "./none", "~/none", "a/b/c", "../up"])
def test_a_missing_folder_is_never_taken_for_a_hub_id(where: str) -> None:
    with pytest.raises(InvalidRequest, match="There is no folder"):
        resolve(Weights(where), offline=True)


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    folder = model(tmp_path / "old", files=())
    with pytest.raises(InvalidRequest, match="no weights"):
        resolve(Weights(str(folder)))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(InvalidRequest, match=r"only pytorch_model\.bin; only \.safetensors"):
        resolve(Weights(str(folder)))


def test_half_a_model_is_refused(tmp_path: Path) -> None:
    folder = model(tmp_path / "split", files=("model-1", "model-2"))
    index = folder / "model.safetensors.index.json"
    names = {"model-1.weight": "model-1.safetensors", "model-2.weight": "model-2.safetensors"}
    index.write_text(json.dumps({"weight_map": names}))
    assert resolve(Weights(str(folder))).folder == folder
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(InvalidRequest, match=r"names model-2\.safetensors, which is not there"):
        resolve(Weights(str(folder)))
    (folder / "model-2.safetensors").symlink_to(tmp_path / "a blob that was never fetched")
    with pytest.raises(InvalidRequest, match=r"names model-2\.safetensors, which is not there"):
        resolve(Weights(str(folder)))
    for damaged in ("[]", "{", '{"weight_map": 3}'):
        index.write_text(damaged)
        with pytest.raises(InvalidRequest, match="not a valid index of a sharded model"):
            resolve(Weights(str(folder)))
