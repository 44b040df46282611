"""Samples in order: workers, ranks, resume, batches, slots and the cache."""

import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nightrain.datasets.loader.augment import Augmentation
from nightrain.datasets.loader.decode import most_bytes
from nightrain.datasets.loader.loader import make_loader
from nightrain.datasets.loader.packing import as_float, fields_of, num_bytes_of, pack, unpack
from nightrain.datasets.loader.sampler import Draw, ResumableSampler
from support.loader import (
    NUM_FRAMES,
    flattened,
    joined,
    make_root,
)
from support.synthetic import SIZE


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("training"))


def test_samples_depend_on_seed_epoch_and_index_alone(root: Path) -> None:
    dataset, other = (joined(root, augmentation=Augmentation()) for _ in range(2))
    draws = [Draw(s, e, i) for s in (0, 1) for e in (0, 1) for i in (2, 7)]
    first = {draw: dataset[draw]["image"] for draw in draws}
    again = {draw: other[draw]["image"] for draw in reversed(draws)}
    assert all(torch.equal(first[d], again[d]) for d in draws)
    assert len({float(v.double().sum()) for v in first.values()}) == len(draws)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(root: Path, num_workers: int) -> None:
    """Over two epochs and with workers that stay: same samples, same pixels, same order."""
    dataset = joined(root, augmentation=Augmentation())
    found = []
    for workers in (0, num_workers):
        sampler = dataset.sampler(5)
        loader = make_loader(dataset, sampler, 3, num_workers=workers)
        epochs = []
        for _ in range(2):
            epochs.append(flattened(loader))
            sampler.next_epoch()
        found.append(epochs)
        del loader
    assert found[0] == found[1] and found[0][0] != found[0][1]
    assert len(found[0][0]) == 9


@pytest.mark.slow
def test_spawned_workers_change_nothing(root: Path) -> None:
    dataset = joined(root, augmentation=Augmentation())
    sampler = dataset.sampler(5)
    forked = flattened(make_loader(dataset, sampler, 3))
    assert forked == flattened(
        make_loader(dataset, sampler, 3, num_workers=1, start_method="spawn")
    )


def test_two_ranks_share_every_global_batch(root: Path) -> None:
    dataset = joined(root, augmentation=Augmentation())
    whole = flattened(make_loader(dataset, dataset.sampler(5), 4))
    ranks = [
        flattened(make_loader(dataset, dataset.sampler(5, rank=r, world_size=2), 2)) for r in (0, 1)
    ]
    assert [sample for pair in zip(*ranks, strict=True) for sample in pair] == whole
    assert len(whole) == 8  # the last partial batch is left out for one rank and for two


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resuming_in_the_middle_gives_the_same_rest(root: Path, num_workers: int) -> None:
    dataset = joined(root, augmentation=Augmentation())
    whole = flattened(make_loader(dataset, dataset.sampler(5), 2))
    sampler = dataset.sampler(5)
    for _, _ in zip(range(2), make_loader(dataset, sampler, 2, num_workers=2), strict=False):
        sampler.advance(2)
    state = pickle.loads(pickle.dumps(sampler.state_dict()))
    assert state == {"seed": 5, "epoch": 0, "consumed": 4}  # though workers read further ahead
    resumed = dataset.sampler(99)
    resumed.load_state_dict(state)
    assert flattened(make_loader(dataset, resumed, 2, num_workers=num_workers)) == whole[4:]


def test_batches_equal_stacked_samples(root: Path) -> None:
    """The packed way through a loader against torch's own collate."""
    dataset = joined(root, augmentation=Augmentation(), exact_depth=True)
    sampler = dataset.sampler(1)
    packed = next(iter(make_loader(dataset, sampler, 4)))
    pictures = {"image", "clear_image", "target", "previous", "next"}
    assert pictures == {
        name for name, v in packed.items() if isinstance(v, torch.Tensor) and v.dtype == torch.uint8
    }
    batch = {n: as_float(v) if isinstance(v, torch.Tensor) else v for n, v in packed.items()}
    expected = torch.utils.data.default_collate([dataset[d] for d in list(sampler)[:4]])
    assert set(batch) == set(expected)
    for name, value in expected.items():
        same = batch[name] == value
        assert same.all() if isinstance(same, torch.Tensor) else same, name
        assert not isinstance(value, torch.Tensor) or batch[name].dtype == value.dtype


def test_a_picture_of_another_size_is_not_packed(root: Path) -> None:
    """OpenCV would write it somewhere else, and the batch would show whatever was in memory."""
    values = [joined(root).values(i) for i in (0, 1)]
    values[1]["image"] = np.zeros((SIZE[1], SIZE[0] + 2, 3), np.uint8)
    with pytest.raises(ValueError, match="as in the batch"):
        pack(values)


@pytest.mark.parametrize("neighbours", [True, False])
def test_a_batch_fits_into_the_slot_of_its_worker(root: Path, neighbours: bool) -> None:
    dataset = joined(root, neighbours=neighbours, exact_depth=True)
    fields = fields_of(dataset.values(0), 4)
    assert num_bytes_of(fields) <= 4 * most_bytes(dataset.config) < 1.3 * num_bytes_of(fields)


def test_slots_are_not_written_before_they_are_copied(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow loop gives the worker all the time to run ahead; also after a loop that broke off."""

    def late(*arguments: Any) -> Any:
        time.sleep(0.1)
        return unpack(*arguments)

    monkeypatch.setattr("nightrain.datasets.loader.loader.unpack", late)
    dataset = joined(root, p_clear=1.0)
    loader = make_loader(dataset, dataset.sampler(0, shuffle=False), 1, num_workers=1)
    kept = [batch for batch, _ in zip(loader, range(3), strict=False)]
    kept += list(loader)
    assert [int(batch["index"]) for batch in kept] == [*range(3), *range(NUM_FRAMES)]
    for batch in kept:
        expected = dataset[int(batch["index"])]["image"]
        assert torch.equal(as_float(batch["image"][0]), expected)


def test_blocks_are_row_groups(root: Path) -> None:
    dataset = joined(root)
    assert dataset.index.blocks() == [4, 4, 2]  # a row group a shard here
    assert isinstance(dataset.sampler(0), ResumableSampler)


def test_the_cache_stays_within_its_bytes(root: Path) -> None:
    dataset, bounded = joined(root), joined(root)
    for index in range(NUM_FRAMES):
        _ = dataset[index]
    bounded.rows.max_bytes = dataset.rows.num_bytes // 2
    for index in range(NUM_FRAMES):
        expected, found = dataset[index]["image"], bounded[index]["image"]
        assert torch.equal(expected, found)
        assert 0 < bounded.rows.num_bytes <= bounded.rows.max_bytes
    assert pickle.loads(pickle.dumps(dataset)).rows.num_bytes == 0


# Bad input
