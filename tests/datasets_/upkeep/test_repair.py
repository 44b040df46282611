"""Repair: whatever is lost or damaged, the dataset is valid again, and nothing intact is lost."""

import os
import shutil
from pathlib import Path

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.frame_plan import read_plans
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard
from nightrain.datasets.shards.pinned import pin, pinned
from nightrain.datasets.shards.recipe_records import recipe_records, record_recipe
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.upkeep.repair import RepairReport, find_damage, repair
from nightrain.pipelines.generate.variant_shard import GenerateShard
from nightrain.pipelines.ingest.ingest_shard import ingest_work, plan_ingest
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.stop import Stop
from support.permissions import deny
from support.synthetic import SyntheticSource, TintEngine, all_rows, ingest_synthetic, recipe

RECIPE = recipe(Condition.NIGHT, Condition.FOG)
NIGHT, FOG = (RECIPE.table(condition) for condition in RECIPE.conditions)
SOURCE = SyntheticSource(num_frames=8, damaged=frozenset({5}))


def generate(root: Path, engine: TintEngine | None = None, retry: int = 0) -> RunReport:
    shards = [Shard(table=table, number=n, retry=retry) for table in (NIGHT, FOG) for n in range(2)]
    stop = Stop()
    work = GenerateShard(root, RECIPE, engine or TintEngine())
    return run(root, shards, work, executor=SerialExecutor(stop), stop=stop)


def ingest(root: Path, source: SyntheticSource = SOURCE) -> RunReport:
    return ingest_synthetic(root, source, frames_per_shard=4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of frames (one frame in quarantine), two conditions of variants."""
    root = tmp_path_factory.mktemp("whole") / "dataset"
    ingest(root)
    generate(root)
    assert verify(root).accepted and verify(root).num_shards == 6
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "dataset")
    return tmp_path / "dataset"


def mend(root: Path) -> RepairReport:
    """Repair, which changes nothing before it is told to; the dataset is valid afterwards."""
    before = sorted(str(p) for p in root.rglob("*"))
    found = find_damage(root)
    assert sorted(str(p) for p in root.rglob("*")) == before
    assert found.findings and not found.settled
    report = repair(root, found)
    waiting = [p for p in verify(root).problems if "is not committed" in p.message]
    assert verify(root).problems == waiting and verify(root).orphans == []
    assert {f.step for f in find_damage(root).findings} <= {"frames first"}
    return report


def assert_whole_again(root: Path, whole: Path) -> None:
    """The same commands make what is missing, and only that."""
    assert not ingest(root).failed and not generate(root).failed
    assert verify(root).accepted and verify(root).num_quarantined == 1
    for table in (FRAMES, "variants"):
        assert all_rows(root, table) == all_rows(whole, table)


def break_file(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.unlink()
    if how == "flipped":
        path.write_bytes(data[:1500] + bytes([data[1500] ^ 4]) + data[1501:])
    elif how == "cut":
        path.write_bytes(data[:-50])
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "link":
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("how", ["gone", "flipped", "cut", "fifo", "link"])
@pytest.mark.parametrize("table", [FRAMES, NIGHT])
def test_a_lost_or_damaged_shard_is_made_again(
    root: Path, whole: Path, table: str, how: str
) -> None:
    break_file(root / table / "00001.parquet", how)
    (finding,) = mend(root).findings
    assert finding.step == "make again" and Manifest(root).entry(finding.shard) is None  # type: ignore[arg-type]
    assert f"nightrain {'ingest' if table == FRAMES else 'generate'}" in finding.outcome
    assert_whole_again(root, whole)


def test_a_run_names_lost_files_and_makes_the_others(root: Path) -> None:
    (root / NIGHT / "00001.parquet").unlink()
    (root / f"_manifest/{FOG}/00000.json").unlink()
    report = generate(root)
    assert report.num_already == 3 and report.num_rows == 4
    (lost,) = report.failed
    assert lost.startswith(f"{NIGHT}/00001.parquet: the file is missing")
    assert "nightrain repair" in lost


def test_lost_quarantine_keeps_the_rows_as_a_head_start(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(8), 4)
    probe = TintEngine()
    generate(root, probe)
    failing = {probe.calls[0][0]}
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(8), 4)
    generate(other, TintEngine(fail_on=failing))
    (entry,) = [e for t in (NIGHT, FOG) for e in Manifest(other).entries(t) if e.quarantine]
    assert entry.quarantine is not None
    (other / entry.quarantine.path).unlink()
    (finding,) = mend(other).findings
    assert finding.step == "make rejected again"
    again = TintEngine()
    generate(other, again)
    assert {sample for call in again.calls for sample in call} == failing
    assert all_rows(other) == all_rows(root)


@pytest.mark.parametrize("table", [FRAMES, NIGHT])
def test_a_lost_entry_is_made_anew_from_proven_files(root: Path, whole: Path, table: str) -> None:
    entry = root / f"_manifest/{table}/00001.json"
    before = Manifest(root).read_entry(entry)
    entry.unlink()
    (finding,) = mend(root).findings
    assert finding.outcome.startswith("adopted")
    after = Manifest(root).read_entry(entry)
    kept = {"rows", "quarantine", "about", "shard", "counts"}
    assert after.model_dump(include=kept) == before.model_dump(include=kept)
    assert_whole_again(root, whole)


@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_a_damaged_entry_is_made_anew(root: Path, whole: Path, how: str) -> None:
    path = root / f"_manifest/{NIGHT}/00001.json"
    path.write_bytes(path.read_bytes().replace(b"night", b"might", 1))
    if how == "gone":
        (root / NIGHT / "00001.parquet").unlink()
    report = mend(root)
    assert "remove entry" in {f.step for f in report.findings}
    assert_whole_again(root, whole)


def test_a_lost_manifest_is_made_anew(root: Path, whole: Path) -> None:
    """As after a copy without _manifest; frames come first, because variants need them."""
    before = [e.rows for t in (FRAMES, NIGHT, FOG) for e in Manifest(root).entries(t)]
    shutil.rmtree(root / "_manifest")
    (root / "_manifest").mkdir()
    mend(root)
    after = [e.rows for t in (FRAMES, NIGHT, FOG) for e in Manifest(root).entries(t)]
    assert after == before
    assert_whole_again(root, whole)


def test_no_flipped_bit_of_a_lost_entry_s_file_is_adopted(root: Path, whole: Path) -> None:
    """Damage in pages, page headers, statistics, footer: what cannot be proven is made again."""
    path, entry = root / NIGHT / "00001.parquet", root / f"_manifest/{NIGHT}/00001.json"
    data = path.read_bytes()
    positions = [5, 4000, *range(len(data) - 6000, len(data), 2171), len(data) - 6]
    for position in positions:
        entry.unlink(missing_ok=True)
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        (finding,) = mend(root).findings
        assert finding.outcome.startswith("removed"), position
        path.parent.mkdir(exist_ok=True)
    assert_whole_again(root, whole)


def test_an_incomplete_file_is_not_adopted(root: Path, whole: Path) -> None:
    """Without its quarantine, the frame that failed would be forgotten."""
    (root / "_manifest/frames/00001.json").unlink()
    (root / "quarantine/frames/00001.parquet").unlink()
    (finding,) = mend(root).findings
    assert "holds 3 of 4 planned frames" in finding.outcome
    assert_whole_again(root, whole)


def test_what_cannot_be_read_is_left(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / NIGHT / "00001.parquet"
    deny(monkeypatch, path)
    found = find_damage(root)
    (finding,) = repair(root, found).findings
    assert finding.step == "by hand" and path.exists()
    assert Manifest(root).entry(Shard(table=NIGHT, number=1)) is not None


def test_strange_files_are_left_and_named(root: Path) -> None:
    stray = root / "variants" / "notes.parquet"
    stray.touch()
    report = repair(root, find_damage(root))
    assert [f.path for f in report.findings] == ["variants/notes.parquet"]
    assert stray.exists() and not report.settled


def test_a_repaired_shard_leaves_out_what_later_retries_have(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(8), 4)
    probe = TintEngine()
    generate(root, probe)
    expected = all_rows(root)
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(8), 4)
    generate(other, TintEngine(fail_on={probe.calls[0][0]}))
    generate(other, retry=1)
    assert len(all_rows(other)) == len(expected)
    (other / NIGHT / "00000.parquet").unlink()
    mend(other)
    generate(other)
    assert all_rows(other) == expected and verify(other).accepted


def test_repaired_frames_leave_out_what_later_retries_have(root: Path) -> None:
    fixed = SyntheticSource(num_frames=8)
    refs = [ref for ref in fixed.select("all") if ref.source_id == "5"]
    plan = plan_ingest(root, fixed, refs, {}, again=True)
    shards, work = ingest_work(root, fixed, refs, plan)
    stop = Stop()
    run(root, shards, work, executor=SerialExecutor(stop), stop=stop)
    expected = all_rows(root, FRAMES)
    assert len(expected) == 8
    (root / "frames/00001.parquet").unlink()
    mend(root)
    assert {f.step for f in find_damage(root).findings} == {"frames first"}
    ingest(root, fixed)
    assert all_rows(root, FRAMES) == expected and verify(root).problems == []


def test_nothing_is_repaired_while_a_process_works(root: Path) -> None:
    lease = Manifest(root).lease(Shard(table=NIGHT, number=9))
    assert lease is not None
    with pytest.raises(InvalidRequest, match="in use"):
        find_damage(root)
    lease.release()
    assert find_damage(root).settled


# Records


def plan_names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "_plan").iterdir())


def break_record(path: Path, how: str) -> None:
    text = path.read_text()
    path.unlink()
    if how == "changed":
        path.write_text(text.replace("1", "2", 1))
    elif how != "gone":
        path.write_text(text[: len(text) // 2])


def frame_ids_of_plans(root: Path) -> list[list[set[str]]]:
    return [[{*shard.frame_ids} for shard in plan.shards] for plan in read_plans(root)]


@pytest.fixture
def grown(root: Path) -> Path:
    """Three plans: of a source, of another one, and of what the first source has added."""
    ingest(root, SyntheticSource(num_frames=3, name="other", split="val"))
    ingest(root, SyntheticSource(num_frames=10, damaged=frozenset({5})))
    assert plan_names(root) == ["00000.json", "00001.json", "00002.json"]
    return root


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
@pytest.mark.parametrize("numbers", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_plans_are_made_anew_from_committed_frames(
    grown: Path, numbers: tuple[int, ...], how: str
) -> None:
    before = frame_ids_of_plans(grown)
    for number in numbers:
        break_record(grown / "_plan" / f"{number:05d}.json", how)
    report = repair(grown, find_damage(grown))
    assert report.settled and {f.step for f in report.findings} == {"make record anew"}
    assert frame_ids_of_plans(grown) == before
    assert [plan.source for plan in read_plans(grown)] == ["synthetic", "other", "synthetic"]
    assert find_damage(grown).findings == [] and verify(grown).accepted
    again = ingest(grown, SyntheticSource(num_frames=10, damaged=frozenset({5})))
    assert again.num_rows == 0 and not again.failed and len(plan_names(grown)) == 3


def test_frames_of_a_lost_plan_that_were_not_committed_are_planned_again(tmp_path: Path) -> None:
    root, refs = tmp_path / "dataset", [SOURCE.ref(index) for index in range(8)]
    plan = plan_ingest(root, SOURCE, refs, {}, frames_per_shard=2)
    shards, work = ingest_work(root, SOURCE, refs, plan)
    for shard in (shards[0], shards[2]):
        work(shard)
    break_record(root / "_plan" / "00000.json", "cut")
    repair(root, find_damage(root))
    ingest(root)
    assert verify(root).accepted
    rows = all_rows(root, FRAMES)
    assert len(rows) == 7 and find_damage(root).findings == []


def test_a_retry_stays_a_retry(root: Path) -> None:
    fixed = SyntheticSource(num_frames=8)
    refs = [fixed.ref(index) for index in range(8)]
    plan = plan_ingest(root, fixed, refs, {}, again=True)
    shards, work = ingest_work(root, fixed, refs, plan)
    for shard in shards:
        work(shard)
    for name in plan_names(root):
        break_record(root / "_plan" / name, "changed")
    repair(root, find_damage(root))
    assert [plan.retry for plan in read_plans(root)] == [False, True]
    assert ingest(root, fixed).num_rows == 0 and len(all_rows(root, FRAMES)) == 8


def test_a_plan_is_not_made_anew_while_frames_of_it_are_unreadable(grown: Path) -> None:
    """Else they would be planned again under other numbers, and their variants never match."""
    break_record(grown / "_plan" / "00000.json", "changed")
    break_file(grown / FRAMES / "00001.parquet", "flipped")
    report = repair(grown, find_damage(grown))
    assert {f.step for f in report.findings} == {"by hand"} and not report.settled
    assert any("it cannot be made anew" in f.problem for f in report.findings)
    assert (grown / FRAMES / "00001.parquet").exists()


@pytest.mark.parametrize("how", ["changed", "cut"])
def test_a_pinned_batch_size_is_that_of_the_rows(root: Path, how: str) -> None:
    name = NIGHT.rpartition("/")[0]
    settings = {"recipe_hash": "7", "batch_size": "1", "device": "cpu"}
    pin(root, name, settings)
    break_record(root / "_manifest" / f"{name}.pinned", how)
    (finding,) = repair(root, find_damage(root)).findings
    sizes = {row["batch_size"] for row in all_rows(root).values()}
    if sizes == {None}:
        assert finding.step == "remove record" and pinned(root, name) is None
    else:
        found = pinned(root, name)
        assert found is not None and found["batch_size"] == str(max(sizes))
    assert verify(root).accepted


def test_a_damaged_record_of_a_recipe_is_removed_for_generate_to_record_again(root: Path) -> None:
    record_recipe(root, "mine", {NIGHT: "{}", FOG: "{}"})
    break_record(root / "_manifest" / "recipes" / "mine" / "00000.pinned", "changed")
    (finding,) = repair(root, find_damage(root)).findings
    assert finding.step == "remove record" and "`nightrain generate` with 'mine'" in finding.outcome
    assert recipe_records(root) == {} and verify(root).accepted
    record_recipe(root, "mine", {NIGHT: "{}", FOG: "{}"})
    assert len(recipe_records(root)["mine"]) == 1
