"""Reviews: a person's verdict is followed by training, and survives nothing but a valid record."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.loader.loader import TrainingSet
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.reviews import (
    Review,
    read_reviews,
    rejected_ids,
    remove_review,
    require_variant,
    write_review,
)
from nightrain.datasets.shards.verify import verify
from nightrain.depthmodel.training.distillation_presets import world_student
from nightrain.depthmodel.training.run_folder import table_digests
from support.loader import RECIPE, config, make_root
from support.synthetic import all_rows

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def review(sample_id: str, verdict: str = "reject") -> Review:
    fields = {"sample_id": sample_id, "verdict": verdict, "reason": "a wall of lamps"}
    return Review.model_validate(fields | {"reviewer": "Ada", "created_at": NOW})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


def shown(root: Path) -> set[str]:
    samples = TrainingSet(root, config(recipes=(RECIPE.name,), p_clear=0.0))
    return set(samples.index.variants.columns["sample_id"].tolist())


def test_training_leaves_out_what_people_reject(root: Path) -> None:
    before, rejected = shown(root), sorted(all_rows(root))[3:8]
    for name in rejected:
        write_review(root, review(name))
    write_review(root, review(sorted(before - set(rejected))[0], "accept"))
    assert shown(root) == before - set(rejected)
    samples = TrainingSet(root, config(recipes=(RECIPE.name,)))
    assert samples.index.num_reviewed_out == 5
    assert rejected_ids(read_reviews(root)) == set(rejected) and verify(root).accepted
    assert remove_review(root, rejected[0]) and not remove_review(root, rejected[0])
    assert shown(root) == before - set(rejected[1:])


def test_the_last_verdict_counts(root: Path) -> None:
    name = sorted(all_rows(root))[0]
    for verdict in ("reject", "accept", "reject"):
        write_review(root, review(name, verdict))
        assert read_reviews(root) == {name: review(name, verdict)}


def test_a_run_sees_that_verdicts_have_changed(root: Path) -> None:
    data = config(recipes=(RECIPE.name,), labels="tiny")
    run = world_student().model_copy(update={"data": data})
    before = table_digests(root, run)
    write_review(root, review(sorted(all_rows(root))[0], "accept"))
    assert table_digests(root, run) == before
    write_review(root, review(sorted(all_rows(root))[0]))
    assert table_digests(root, run) != before


@pytest.mark.parametrize("name", ["", "../../frames/00000", "g" * 20, "0" * 21, "A" * 20])
def test_what_is_no_sample_id_names_no_file(root: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="expected a sample id: 20 hex digits"):
        remove_review(root, name)
    with pytest.raises(ValueError, match="sample_id"):
        review(name)


def test_a_variant_must_be_there(root: Path) -> None:
    require_variant(Manifest(root), sorted(all_rows(root))[0])
    with pytest.raises(InvalidRequest, match=r"has no variant '0{20}', committed or rejected"):
        require_variant(Manifest(root), "0" * 20)


def test_a_damaged_review_is_no_verdict(root: Path) -> None:
    names = sorted(all_rows(root))
    write_review(root, review(names[0]))
    path = root / "_reviews" / f"{names[0]}.json"
    for text in (path.read_text().replace("reject", "accept"), "", "{}"):
        damaged = root / "_reviews" / f"{names[0]}.json"
        kept = path.read_bytes()
        damaged.write_text(text)
        with pytest.raises(CorruptShard):
            read_reviews(root)
        damaged.write_bytes(kept)
    path.rename(path.with_name(f"{names[1]}.json"))
    with pytest.raises(CorruptShard, match=f"is the review of {names[0]}"):
        read_reviews(root)
