"""Upgrades of datasets that earlier versions of the code wrote; none is left behind.

tests/support/old_datasets holds what those versions wrote: schema 1 with frames and variants,
schema 2 with frames and labels.
"""

import hashlib
import itertools
import json
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest

from nightrain.datasets.errors import CorruptShard, PlanMismatch
from nightrain.datasets.io.record import record_bytes
from nightrain.datasets.shards.frame_plan import read_plans
from nightrain.datasets.shards.label_rows import labels_of
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard
from nightrain.datasets.shards.recipe_records import recipe_records, select_tables
from nightrain.datasets.shards.rows import frame_from_row
from nightrain.datasets.shards.schema import SCHEMA_VERSION
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.upkeep import upgrade as upgrading
from nightrain.datasets.upkeep.migrations import MIGRATIONS, SCHEMAS, migrate
from nightrain.datasets.upkeep.upgrade import upgrade
from support.synthetic import all_rows

OLD = Path(__file__).parents[2] / "support" / "old_datasets"


def unpack(name: str, folder: Path) -> Path:
    with tarfile.open(OLD / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(params=["schema1", "schema2"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return unpack(request.param, tmp_path / request.param)


def content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.suffix in (".parquet", ".json", ".pinned")
    }


def test_an_old_dataset_is_refused_until_it_is_upgraded(old: Path) -> None:
    for read in (verify, lambda root: Manifest(root).entries(FRAMES)):
        with pytest.raises(PlanMismatch, match=f"version {SCHEMA_VERSION}.*nightrain upgrade"):
            read(old)
    upgrade(old)
    report = verify(old)
    assert report.accepted and report.num_quarantined == 1
    assert [plan.source for plan in read_plans(old)] == ["synthetic"]


def test_no_value_is_lost(tmp_path: Path) -> None:
    """Every column of an old row is there, under today's name; new ones are null."""
    import pyarrow.parquet as pq

    root = unpack("schema1", tmp_path)
    before = {
        row["frame_id"]: row
        for path in sorted((root / "frames").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    }
    upgrade(root)
    after = all_rows(root, FRAMES)
    assert after.keys() == before.keys()
    for frame_id, row in before.items():
        assert row.pop("schema_version") == 1
        renamed = {name.replace("prev_", "previous_"): value for name, value in row.items()}
        assert {name: after[frame_id][name] for name in renamed} == renamed
        new = after[frame_id].keys() - renamed.keys()
        later = {"schema_version", "T_stereo_camera", "objects"}
        assert new == later | {n for n in new if "stereo" in n}
        assert all(after[frame_id][name] is None for name in new - {"schema_version"})
    frames = [frame_from_row(row) for row in after.values()]
    assert sum(frame.previous is not None for frame in frames) == 3
    assert all(frame.stereo is None for frame in frames)


def test_frames_of_schema_4_get_objects_as_null(dataset: Path) -> None:
    (entry, *_) = Manifest(dataset).entries(FRAMES)
    rows = Manifest(dataset).reader(entry.rows).group(0)
    four = pa.array([4] * rows.num_rows, pa.int16())
    index = rows.column_names.index("schema_version")
    old = rows.set_column(index, "schema_version", four).drop_columns(["objects"])
    new = migrate(FRAMES, old, 4)
    assert new.schema.names == SCHEMAS["frames"].names
    assert new.column("objects").to_pylist() == [None] * rows.num_rows
    assert new.drop_columns(["objects"]).equals(rows.drop_columns(["objects"]))


def test_variants_of_schema_6_get_confidence_of_objects_as_null() -> None:
    new = SCHEMAS["variants"]
    rows = pa.table({f.name: pa.nulls(2, f.type) for f in new if f.name != "object_confidence"})
    upgraded = migrate("variants/weather-1a2b3c4d/fog", rows, 6)
    assert upgraded.schema.names == new.names
    assert upgraded.column("object_confidence").to_pylist() == [None, None]


def test_variants_of_an_old_recipe_are_found_by_its_name(tmp_path: Path) -> None:
    root = unpack("schema1", tmp_path)
    assert upgrade(root).recipes == ["test"]
    tables = [f"variants/test-8519932e/{condition}" for condition in ("fog", "night")]
    assert select_tables(Manifest(root), "test") == tables
    (record,) = recipe_records(root)["test"]
    assert json.loads(record.settings[tables[0]])["name"] == "test"
    assert {row["prompt"] for row in all_rows(root).values()} == {None}


def test_labels_still_belong_to_their_frames(tmp_path: Path) -> None:
    """They name the digest of their frames' file, which has changed."""
    root = unpack("schema2", tmp_path)
    upgrade(root)
    table = "labels/red-3fa57158"
    assert len(list(labels_of(Manifest(root), Shard(table=FRAMES, number=0), table).rows())) == 3


def test_an_interrupted_upgrade_continues(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before and after every change of an entry and every removal of a file."""
    whole = tmp_path / "whole"
    shutil.copytree(old, whole)
    upgrade(whole)
    steps = ("replace_entry", "remove_files", "record_recipe", "replace_file")
    real = {name: getattr(upgrading, name) for name in steps}
    stops_left = 0

    def stopping(name: str, after: bool) -> object:
        def step(*args: object, **kwargs: object) -> object:
            nonlocal stops_left
            stops_left -= 1
            if stops_left == 0 and not after:
                raise KeyboardInterrupt
            result = real[name](*args, **kwargs)
            if stops_left == 0:
                raise KeyboardInterrupt
            return result

        return step

    for stop, after in itertools.product(range(1, 8), (False, True)):
        for name in steps:
            monkeypatch.setattr(upgrading, name, stopping(name, after))
        root = tmp_path / f"{after}-{stop}"
        shutil.copytree(old, root)
        stops_left = stop
        with pytest.raises(KeyboardInterrupt):
            upgrade(root)
        upgrade(root)
        assert verify(root).accepted and not Manifest(root).orphans()
        assert content(root).keys() == content(whole).keys()
        for table in ("frames", "variants", "labels"):
            assert all_rows(root, table) == all_rows(whole, table)


def test_a_second_upgrade_changes_nothing(old: Path) -> None:
    upgrade(old)
    before = content(old)
    report = upgrade(old)
    assert content(old) == before
    assert report.upgraded == {} and report.num_current == 4 + 2 * (old.name == "schema1")


def test_a_damaged_old_file_is_left_as_it_is(old: Path) -> None:
    path = old / "frames/00000.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:2000] + b"x" + data[2001:])
    with pytest.raises(CorruptShard, match="digest"):
        upgrade(old)
    path.write_bytes(data)
    upgrade(old)
    assert verify(old).accepted


def test_a_newer_dataset_is_refused(dataset: Path) -> None:
    path = dataset / "_manifest/frames/00000.json"
    body = json.loads(path.read_bytes())["entry"]
    body |= {"schema_version": SCHEMA_VERSION + 1, "column_of_the_future": 1}
    path.write_bytes(record_bytes("entry", body))
    for read in (verify, upgrade):
        with pytest.raises(PlanMismatch, match=r"newer nightrain.*Install the newer one"):
            read(dataset)


def test_every_version_has_a_step() -> None:
    assert [step.version for step in MIGRATIONS] == list(range(1, SCHEMA_VERSION))


def test_columns_change_only_with_a_version() -> None:
    """If this fails: raise SCHEMA_VERSION, add a step to migrations.py, and put the digest here."""
    columns = "\n".join(
        f"{kind} {field.name} {field.type} {field.nullable}"
        for kind, schema in SCHEMAS.items()
        for field in schema
    )
    digest = hashlib.sha256(columns.encode()).hexdigest()[:16]
    assert {SCHEMA_VERSION: digest} == {7: "8a6fac1a471ad52e"}
