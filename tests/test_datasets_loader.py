import dataclasses
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from datasets.augment import Augmentation
from datasets.catalog import FRAMES, Catalog
from datasets.corruptions import Corruptions
from datasets.errors import CorruptShard, Refused
from datasets.frame import Condition, scaled_intrinsics
from datasets.loader import TrainingSet, make_loader
from datasets.packing import as_float, fields_of, num_bytes_of, pack, unpack
from datasets.sampler import Draw, ResumableSampler
from datasets.samples import most_bytes
from datasets.shards import Row
from datasets.training_config import TrainingSetConfig
from tests.synthetic import INTRINSICS, SIZE, SyntheticSource, ingest_synthetic, picture, recipe
from tests.training_fixture import (
    T_NEXT,
    T_PREVIOUS,
    NeighbourSource,
    add_labels,
    add_variants,
)

NUM_FRAMES = 10
RECIPE = recipe(Condition.NIGHT, Condition.FOG, variants_per_frame=2)
CONDITIONS = list(Condition)
HALF = (SIZE[0] // 2, SIZE[1] // 2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten clear train frames in three shards with variants and labels; five val frames at night."""
    root = tmp_path_factory.mktemp("training") / "dataset"
    ingest_synthetic(root, NeighbourSource(NUM_FRAMES))
    add_variants(root, RECIPE)
    add_labels(root)
    return root


def config(**changes: Any) -> TrainingSetConfig:
    values = {"input_size": SIZE, "loss_size": HALF, "augmentation": None}
    return TrainingSetConfig.model_validate(values | changes)


def joined(root: Path, **changes: Any) -> TrainingSet:
    fields = {"recipes": (RECIPE.folder,), "labels": "tiny", "neighbours": True}
    return TrainingSet(root, config(**fields | changes))


def frame_rows(root: Path) -> dict[str, Row]:
    catalog = Catalog(root)
    return {
        row["frame_id"]: row
        for entry in catalog.entries(FRAMES)
        for row in catalog.reader(entry.rows).rows()
    }


def flattened(batches: Any) -> list[tuple[Any, ...]]:
    """What the batches hold, sample by sample, with a fingerprint of the pixels."""
    found = []
    for batch in batches:
        for i, index in enumerate(batch["index"].tolist()):
            pixels = float(batch["image"][i].double().sum())
            found.append(
                (index, batch["sample_id"][i], pixels, float(batch["intrinsics"][i, 0, 2]))
            )
    return found


def test_a_sample_holds_the_contract(root: Path) -> None:
    sample = joined(root, exact_depth=True)[3]
    (width, height), (w, h) = SIZE, HALF
    shapes = {name: tuple(v.shape) for name, v in sample.items() if isinstance(v, torch.Tensor)}
    assert shapes == {
        **{name: (3, height, width) for name in ("image", "clear_image")},
        **{name: (3, h, w) for name in ("target", "previous", "next")},
        **{name: (3, 3) for name in ("intrinsics", "previous_intrinsics", "next_intrinsics")},
        **{name: (4, 4) for name in ("T_previous_camera", "T_next_camera")},
        **{name: (h, w) for name in ("lidar_depth_m", "exact_depth_m")},
        **{name: (h, w) for name in ("label_depth_m", "label_confidence")},
        **{n: () for n in ("has_previous", "has_next", "is_variant", "condition", "index")},
    }
    for name, value in sample.items():
        if isinstance(value, torch.Tensor):
            kind = {"condition": torch.int64, "index": torch.int64}.get(name, torch.float32)
            kind = torch.bool if name.startswith(("has_", "is_")) else kind
            assert value.dtype == kind, name
    for name in ("image", "clear_image", "target", "label_confidence"):
        value = sample[name]
        assert isinstance(value, torch.Tensor) and value.min() >= 0 and value.max() <= 1
        assert value.max() > 0.3


def test_rows_are_joined_by_frame(root: Path) -> None:
    """Clear picture, geometry, label and variant of every sample are those of its frame."""
    dataset, rows = joined(root, p_clear=0.0, loss_size=SIZE), frame_rows(root)
    variants = {
        row["sample_id"]: row
        for table in Catalog(root).tables("variants/")
        for entry in Catalog(root).entries(table)
        for row in Catalog(root).reader(entry.rows).rows()
    }
    for index in range(len(dataset)):
        sample = dataset[index]
        row = rows[str(sample["frame_id"])]
        shown = variants[str(sample["sample_id"])]
        assert shown["frame_id"] == row["frame_id"]
        assert CONDITIONS[int(sample["condition"])] == shown["condition"]
        picture_of_frame = picture(int(row["source_id"])).astype(float) / 255
        error = np.abs(sample["clear_image"].permute(1, 2, 0).numpy() - picture_of_frame)
        assert error.mean() < 0.05  # a JPEG of that picture and of no other
        np.testing.assert_allclose(sample["intrinsics"], INTRINSICS, atol=1e-5)
        depth = np.linspace(2.0, 60.0, SIZE[0])
        np.testing.assert_allclose(sample["label_depth_m"][0], depth, atol=1 / 256)
        confidence = np.arange(SIZE[0])[::-1] * 4 / 255
        np.testing.assert_allclose(sample["label_confidence"][5], confidence, atol=1e-6)


def test_neighbours_and_the_frame_without_a_previous_one(root: Path) -> None:
    rows = frame_rows(root)
    for sample in (joined(root)[i] for i in range(NUM_FRAMES)):
        first = rows[str(sample["frame_id"])]["source_id"] == "0"
        assert bool(sample["has_previous"]) is not first and bool(sample["has_next"])
        expected = np.eye(4) if first else T_PREVIOUS
        np.testing.assert_allclose(sample["T_previous_camera"], expected, atol=1e-7)
        np.testing.assert_allclose(sample["T_next_camera"], T_NEXT, atol=1e-7)
        half = scaled_intrinsics(INTRINSICS, SIZE, HALF)
        for name in ("intrinsics", "previous_intrinsics", "next_intrinsics"):
            np.testing.assert_allclose(sample[name], half, atol=1e-6)


def test_only_the_network_input_is_augmented(root: Path) -> None:
    plain = joined(root)
    jittered = joined(root, augmentation=Augmentation(flip_probability=0.0))
    for index in range(NUM_FRAMES):
        for name, value in plain[index].items():
            other = jittered[index][name]
            if name == "image":
                assert not torch.equal(value, other)
            elif isinstance(value, torch.Tensor):
                assert torch.equal(value, other), name


def test_a_flip_turns_everything(root: Path) -> None:
    plain = joined(root, exact_depth=True)
    flips = Augmentation(brightness=0, contrast=0, saturation=0, hue=0, noise_probability=0)
    turned = joined(root, exact_depth=True, augmentation=flips)
    count = 0
    for index in range(NUM_FRAMES):
        a, b = plain[index], turned[index]
        flipped = not torch.equal(a["label_depth_m"], b["label_depth_m"])
        count += flipped
        for name, value in a.items():
            if not isinstance(value, torch.Tensor) or value.dim() < 2 or "camera" in name:
                continue
            if name.endswith("intrinsics"):
                cx = HALF[0] - 1 - value[0, 2] if flipped else value[0, 2]
                assert b[name][0, 2] == pytest.approx(float(cx), abs=1e-5)
            else:
                expected = value.flip(-1) if flipped else value
                assert torch.equal(b[name], expected), name
        sign = -1 if flipped and bool(a["has_previous"]) else 1
        assert b["T_previous_camera"][0, 3] == sign * a["T_previous_camera"][0, 3]
    assert 0 < count < NUM_FRAMES


@pytest.mark.parametrize(
    ("p_clear", "clear"), [("uniform", 1 / 3), ("paper-literal", 2 / 3), (0.2, 0.2)]
)
def test_mixing_fractions(root: Path, p_clear: str | float, clear: float) -> None:
    """Both readings of the paper, then evenly over conditions and over a frame's variants."""
    dataset = joined(root, p_clear=p_clear)
    draws = [Draw(0, epoch, index) for epoch in range(300) for index in range(NUM_FRAMES)]
    chosen = [dataset.choose(draw) for draw in draws]
    assert np.mean([c is None for c in chosen]) == pytest.approx(clear, abs=0.03)
    shown = [c for c in chosen if isinstance(c, int)]
    conditions = [CONDITIONS[dataset.index.variant_condition[c]] for c in shown]
    for condition in (Condition.NIGHT, Condition.FOG):
        assert np.mean([c == condition for c in conditions]) == pytest.approx(0.5, abs=0.04)
    counts = np.bincount(shown, minlength=NUM_FRAMES * 4)
    assert len(counts) == NUM_FRAMES * 4 and counts.min() > 0.5 * counts.mean()


def test_conditions_are_even_where_one_has_more_variants(tmp_path: Path) -> None:
    """Two recipes make night, one of them fog: night is not shown more often for it."""
    ingest_synthetic(tmp_path, SyntheticSource(4))
    second = recipe(Condition.NIGHT, name="second", variants_per_frame=3)
    add_variants(tmp_path, RECIPE)
    add_variants(tmp_path, second)
    dataset = TrainingSet(tmp_path, config(recipes=(RECIPE.folder, second.folder), p_clear=0.0))
    draws = [Draw(0, epoch, index) for epoch in range(500) for index in range(4)]
    chosen = [c for draw in draws if isinstance(c := dataset.choose(draw), int)]
    night = CONDITIONS.index(Condition.NIGHT)
    assert np.mean(dataset.index.variant_condition[chosen] == night) == pytest.approx(0.5, abs=0.04)
    assert set(chosen) == set(range(4 * 7))


def test_a_frame_shows_only_the_conditions_it_has(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(8), frames_per_shard=4)
    add_variants(tmp_path, recipe(Condition.NIGHT))
    fog = recipe(Condition.FOG, name="fog")
    add_variants(tmp_path, fog, numbers=(0,))
    folders = (recipe(Condition.NIGHT).folder, fog.folder)
    dataset = TrainingSet(tmp_path, config(recipes=folders, p_clear=0.0))
    for index in range(8):
        shown = {dataset.choose(Draw(0, epoch, index)) for epoch in range(30)}
        assert None not in shown and len(shown) == (2 if index < 4 else 1)


def test_true_weather_is_shown_as_it_is(tmp_path: Path) -> None:
    source = _Mixed(6)
    ingest_synthetic(tmp_path, source)
    dataset = TrainingSet(tmp_path, config(conditions=("clear", "night")))
    shown = [dataset[i] for i in range(len(dataset))]
    assert len(dataset) == 6 and not any(s["is_variant"] for s in shown)
    assert sorted(int(s["condition"]) for s in shown) == [0, 0, 0, 1, 1, 1]
    assert len(TrainingSet(tmp_path, config(conditions=("night",)))) == 3


class _Mixed(SyntheticSource):
    """Every second frame was taken at night."""

    def ref(self, index: int) -> Any:
        night = Condition.NIGHT if index % 2 else Condition.CLEAR
        return dataclasses.replace(super().ref(index), condition=night)


def test_corruptions_stand_in_for_variants(root: Path) -> None:
    dataset = TrainingSet(root, config(corruptions=Corruptions(), p_clear="uniform"))
    draws = [Draw(1, epoch, index) for epoch in range(400) for index in range(5)]
    chosen = [dataset.choose(draw) for draw in draws]
    for kind in (None, "darkening", "blur", "contrast-loss"):
        assert np.mean([c == kind for c in chosen]) == pytest.approx(0.25, abs=0.04)
    dark = draws[chosen.index("darkening")]
    sample = dataset[dark]
    assert sample["is_variant"] and int(sample["condition"]) == 1
    assert sample["image"].mean() < 0.65 * sample["clear_image"].mean()
    assert torch.equal(dataset[dark]["image"], sample["image"])


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
    with pytest.raises(ValueError, match="among others of"):
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

    monkeypatch.setattr("datasets.loader.unpack", late)
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


def test_an_empty_condition_is_refused(root: Path) -> None:
    with pytest.raises(Refused, match=r"no rain frames in split 'train'.*train/clear"):
        TrainingSet(root, config(conditions=("clear", "rain")))
    with pytest.raises(Refused, match="no clear frames in split 'val'"):
        TrainingSet(root, config(split="val"))


def test_a_recipe_without_variants_is_refused(root: Path) -> None:
    with pytest.raises(Refused, match=f"no variants of recipe 'other-00000000'.*{RECIPE.folder}"):
        TrainingSet(root, config(recipes=("other-00000000",)))
    with pytest.raises(Refused, match="no snow of recipe"):
        joined(root, variant_conditions=("night", "snow"))


def test_variants_of_other_frames_are_refused(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, _Mixed(8), frames_per_shard=4)
    night = recipe(Condition.FOG)
    shard_of_night = next(
        e.shard.number for e in Catalog(tmp_path).entries(FRAMES) if e.about["condition"] == "night"
    )
    add_variants(tmp_path, night, numbers=(shard_of_night,))
    with pytest.raises(Refused, match="holds no variant of the 4 frames"):
        TrainingSet(tmp_path, config(recipes=(night.folder,)))


def test_missing_labels_are_refused(root: Path) -> None:
    with pytest.raises(Refused, match="no labels of 'absent'; labels here: labels/tiny"):
        joined(root, labels="absent")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda n, rows: [r | {"frame_id": f"{r['frame_id'][:-1]}!"} for r in rows],
            "another frame",
        ),
        (lambda n, rows: rows if n else rows[1:], "no label for 1 of 4 frames"),
        (lambda n, rows: [rows[0] | {"teacher_sha256": "x"}, *rows[1:]], "labels of 2 teachers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    add_labels(tmp_path, change=change)
    with pytest.raises(Refused, match=message):
        TrainingSet(tmp_path, config(labels="tiny"))


def test_labels_in_another_order_still_find_their_frames(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    add_labels(tmp_path, change=lambda n, rows: rows[::-1])
    dataset = TrainingSet(tmp_path, config(labels="tiny"))
    labels = dataset.index.labels
    assert labels is not None and labels.row.tolist() == [3, 2, 1, 0]
    assert dataset[1]["frame_id"] == labels.columns["frame_id"][1]


def test_frames_whose_label_is_in_quarantine_are_left_out_and_counted(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    add_variants(tmp_path, RECIPE)
    add_labels(tmp_path, reject=(1,))
    dataset = TrainingSet(tmp_path, config(labels="tiny", recipes=(RECIPE.folder,), p_clear=0.0))
    rejected = TrainingSet(tmp_path, config()).index.frames.columns["frame_id"][1]
    assert len(dataset) == 3 and dataset.index.num_without_label == 1
    samples = [dataset[i] for i in range(3)]  # reading finds rows that do not belong together
    assert rejected not in {s["frame_id"] for s in samples} and all(
        s["is_variant"] for s in samples
    )


def test_a_depth_that_is_not_there_is_refused(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    add_labels(tmp_path, change=lambda n, rows: [r | {"depth": None} for r in rows])
    dataset = TrainingSet(tmp_path, config(labels="tiny"))
    with pytest.raises(Refused, match="has no depth, which was asked for"):
        dataset[0]


@pytest.mark.parametrize("table", ["frames", f"variants/{RECIPE.folder}/night", "labels/tiny"])
def test_a_flipped_byte_is_found_by_the_worker(tmp_path: Path, table: str) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    add_variants(tmp_path, RECIPE)
    add_labels(tmp_path)
    fields = {"recipes": (RECIPE.folder,), "variant_conditions": ("night",), "p_clear": 0.0}
    dataset = TrainingSet(tmp_path, config(**fields, labels="tiny"))
    path = tmp_path / table / "00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(data)
    for num_workers in (0, 1):
        with pytest.raises(CorruptShard, match=table):
            next(iter(make_loader(dataset, dataset.sampler(0), 2, num_workers=num_workers)))


def test_keys_that_changed_are_found_at_once(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    path = tmp_path / "frames" / "00000.parquet"
    key = next(iter(frame_rows(tmp_path))).encode()
    path.write_bytes(path.read_bytes()[: -len(key)])
    with pytest.raises(CorruptShard, match=r"frames/00000.parquet"):
        TrainingSet(tmp_path, config())


@pytest.mark.parametrize(
    "changes",
    [
        {"p_clear": 1.5},
        {"p_clear": "mostly"},
        {"variant_conditions": ("night",)},
        {"recipes": ("a-1",), "variant_conditions": ("clear",)},
        {"recipes": ("a-1",), "corruptions": Corruptions()},
        {"recipes": ("../up",)},
        {"conditions": ("clear", "clear")},
        {"conditions": ()},
        {"input_size": (0, 10)},
        {"unknown": 1},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**changes)
