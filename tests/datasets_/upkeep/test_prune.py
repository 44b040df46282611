"""Pruning removes entries before files, and only what was selected."""

from pathlib import Path

import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import Entry, Manifest, Shard
from nightrain.datasets.shards.pinned import pin
from nightrain.datasets.shards.recipe_records import record_recipe
from nightrain.datasets.shards.schema import QUARANTINE, VARIANTS
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.upkeep.prune import PruneSelection, plan_prune, prune
from support.synthetic import variant_row

OLD, NEW, RAIN = (
    "variants/w-11111111/night",
    "variants/w-22222222/night",
    "variants/w-33333333/rain",
)


def commit(root: Path, table: str, number: int, first: int, num_rejected: int = 0) -> Entry:
    manifest = Manifest(root)
    with (
        manifest.writer(table, VARIANTS, {}) as rows,
        manifest.writer(f"quarantine/{table}", QUARANTINE, {}) as rejected,
    ):
        for index in range(first, first + 3):
            rows.add(variant_row(index))
        for index in range(num_rejected):
            row = {"sample_id": f"{index}", "frame_id": f"{index}", "reason": "bad_output"}
            rejected.add(row)
        rows.close()
        rejected.close()
        shard = Shard(table=table, number=number)
        return manifest.commit(shard, rows, rejected, about={}, counts={}, seconds=0.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Recipe `a` was edited (night) and shares rain with `b`; two shards a table."""
    for place, table in enumerate((OLD, NEW, RAIN)):
        for number in range(2):
            commit(tmp_path, table, number, 100 * place + 10 * number, num_rejected=number)
    record_recipe(tmp_path, "a", {OLD: "{}", RAIN: "{}"})
    record_recipe(tmp_path, "b", {RAIN: "{}"})
    record_recipe(tmp_path, "a", {NEW: "{}", RAIN: "{}"})
    pin(tmp_path, "variants/w-11111111", {"batch_size": "2"})
    return tmp_path


def pruned(root: Path, **selection: object) -> list[str]:
    """Prune; return the tables that are left."""
    plan = plan_prune(root, PruneSelection.model_validate(selection))
    assert verify(root).num_shards == 6  # planning removes nothing
    prune(root, plan)
    assert verify(root).accepted
    return Manifest(root).tables()


def test_superseded_variants_are_removed(root: Path) -> None:
    assert pruned(root, superseded=True) == [NEW, RAIN]
    assert not (root / OLD).exists() and not (root / "quarantine/w-11111111/night").exists()
    assert not (root / "_manifest/variants/w-11111111.pinned").exists()


def test_a_recipe_is_removed_except_what_another_uses(root: Path) -> None:
    plan = plan_prune(root, PruneSelection(variants="a"))
    assert [part.table for part in plan.tables] == [NEW] and plan.shared == {RAIN: "b"}
    assert pruned(root, variants="a") == [OLD, RAIN]


def test_a_folder_is_removed_whoever_uses_it(root: Path) -> None:
    assert pruned(root, variants="w-33333333") == [OLD, NEW]


def test_a_plan_says_what_it_frees(root: Path) -> None:
    (part,) = plan_prune(root, PruneSelection(variants="111111")).tables
    assert (part.num_shards, part.num_rows, part.num_quarantined) == (2, 6, 1)
    sizes = [p.stat().st_size for p in root.rglob("*.parquet") if "w-11111111" in str(p)]
    assert part.num_bytes == sum(sizes)


def test_only_the_quarantine(root: Path) -> None:
    assert pruned(root, quarantine=True, variants="w-22222222") == [OLD, NEW, RAIN]
    left = [
        e.shard.table for t in (OLD, NEW, RAIN) for e in Manifest(root).entries(t) if e.quarantine
    ]
    assert left == [OLD, RAIN]
    prune(root, plan_prune(root, PruneSelection(quarantine=True)))
    assert not list((root / "quarantine").rglob("*.parquet"))
    assert verify(root).num_rows == 18


def test_nothing_selected_is_refused(root: Path) -> None:
    with pytest.raises(InvalidRequest, match="Nothing is selected"):
        plan_prune(root, PruneSelection())
    for selection in ({"variants": "x"}, {"labels": "x"}, {"captions": "x"}):
        with pytest.raises(InvalidRequest, match="called 'x'"):
            plan_prune(root, PruneSelection.model_validate(selection))


def test_nothing_is_removed_while_a_process_works(root: Path) -> None:
    plan = plan_prune(root, PruneSelection(superseded=True))
    lease = Manifest(root).lease(Shard(table="frames", number=7))
    assert lease is not None
    with pytest.raises(InvalidRequest, match=r"in use: frames/00007 is held by process"):
        prune(root, plan)
    assert verify(root).num_shards == 6
    lease.release()
    prune(root, plan)


def test_a_kill_at_any_step_leaves_no_reader_without_a_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = Path.unlink, 0

    def unlink(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if path.suffix in (".json", ".parquet"):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        real(path, missing_ok)

    plan = plan_prune(root, PruneSelection(superseded=True))
    monkeypatch.setattr(Path, "unlink", unlink)
    for step in range(1, 20):
        left = step
        try:
            prune(root, plan)
        except KeyboardInterrupt:
            assert not verify(root).problems  # every entry has its files
            continue
        break
    assert Manifest(root).tables() == [NEW, RAIN]


def test_an_open_reader_keeps_its_file(root: Path) -> None:
    manifest = Manifest(root)
    reader = manifest.reader(manifest.entries(OLD)[0].rows)
    reader.row(0)
    prune(root, plan_prune(root, PruneSelection(superseded=True)))
    assert len(list(reader.rows())) == 3
