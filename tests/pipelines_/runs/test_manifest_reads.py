"""A run reads each manifest entry at most once, however many steps look at it."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from nightrain.benchmarks.manifest import ROWS_PER_SHARD, write_manifest
from nightrain.datasets.conditions import Condition
from nightrain.datasets.io import parsed_files
from nightrain.datasets.shards import manifest as manifest_module
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard
from nightrain.flows.cli import app
from nightrain.pipelines.captions.job import CaptionJob, caption
from nightrain.pipelines.generate import cost_estimate
from nightrain.pipelines.generate import job as job_module
from nightrain.pipelines.generate.cost_estimate import estimate
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.generate.plan import plan_retry
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.runs.executors import PlanOnly, SerialExecutor, WorkFound
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop

COST = cost_estimate.VariantCost(seconds=2.0, num_bytes=1e6, device="cpu")
NUM_FRAMES = 5 * ROWS_PER_SHARD


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each entry is read from the disk."""
    found: Counter[str] = Counter()
    real = manifest_module.read_record_text

    def counted(path: str, kind: str, what: str) -> bytes:
        if kind == "entry":
            found[path] += 1
        return real(path, kind, what)

    monkeypatch.setattr(manifest_module, "read_record_text", counted)
    monkeypatch.setattr(parsed_files, "SETTLED_NS", -1)  # new files count as old
    return found


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset of entries alone, with every variant of the recipe `weather`."""
    assert write_manifest(tmp_path / "dataset", NUM_FRAMES) == 5 * 5
    return tmp_path / "dataset"


def run(dataset: Path) -> int:
    job, stop = GenerateJob(dataset=dataset), Stop()
    return generate(job, executor=SerialExecutor(stop), stop=stop).num_already


def test_a_run_with_nothing_to_do_reads_each_entry_once(dataset: Path, reads: Counter[str]) -> None:
    assert run(dataset) == 20
    assert len(reads) == 25 and set(reads.values()) == {1}
    assert run(dataset) == 20 and set(reads.values()) == {1}  # also the next run in this process


def test_a_command_plans_once(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of rows left comes from the job's own plan."""
    plans: list[Path] = []
    real = job_module.plan_generation

    def counted(manifest: Manifest, *arguments: object, **options: object) -> object:
        plans.append(manifest.root)
        return real(manifest, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(job_module, "plan_generation", counted)
    result = CliRunner().invoke(app, ["generate", str(dataset), "--runner", "local"])
    assert result.exit_code == 0 and plans == [dataset]


def test_a_job_reports_the_rows_that_are_left(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Depth maps would come first, of frames that have no rows here."""
    monkeypatch.setattr(job_module, "make_maps_of_recipe", lambda *_, **__: RunReport())
    tables = list(load_recipe("weather").tables)
    for table, number in ((tables[0], 0), (tables[0], 3), (tables[2], 4)):
        (dataset / "_manifest" / table / f"{number:05d}.json").unlink()
    planned: list[int] = []
    job = GenerateJob(dataset=dataset)
    with pytest.raises(WorkFound):
        generate(job, executor=PlanOnly(), stop=Stop(), on_planned=planned.append)
    assert planned == [3 * ROWS_PER_SHARD]
    with pytest.raises(WorkFound):
        caption(
            CaptionJob(dataset=dataset, captioner="metadata"),
            executor=PlanOnly(),
            stop=Stop(),
            on_planned=planned.append,
        )
    assert planned[1:] == [NUM_FRAMES]


def test_a_plan_shows_what_is_left_of_each_condition(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("weather")
    for number in (0, 3):
        path = dataset / "_manifest" / recipe.table(Condition.RAIN) / f"{number:05d}.json"
        path.unlink()
    monkeypatch.setattr(cost_estimate, "_measure", lambda *_: COST)
    words = ["plan", str(dataset)]
    shown = CliRunner().invoke(app, words).output
    assert f"remaining rain: {2 * ROWS_PER_SHARD} variants in 2 shards\n" in shown
    assert "remaining night: none\n" in shown
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert set(found["conditions"]) == set(map(str, recipe.conditions))
    assert found["conditions"]["rain"] == {
        "num_variants": NUM_FRAMES,
        "num_shards": 5,
        "num_variants_left": 2 * ROWS_PER_SHARD,
        "num_shards_left": 2,
    }
    assert found["conditions"]["night"]["num_shards_left"] == 0
    assert found["num_shards_committed"] == 18 and found["num_variants_left"] == 256


def test_a_changed_entry_is_noticed(dataset: Path, reads: Counter[str]) -> None:
    run(dataset)
    path = dataset / "_manifest" / FRAMES / "00002.json"
    path.write_bytes(path.read_bytes().replace(b'"num_rows": 128', b'"num_rows": 127', 1))
    with pytest.raises(manifest_module.CorruptShard, match="changed after it was written"):
        Manifest(dataset).entries(FRAMES)
    path.unlink()
    assert Manifest(dataset).entry(Shard(table=FRAMES, number=2)) is None
    assert len(Manifest(dataset).entries(FRAMES)) == 4


def test_nothing_is_measured_when_nothing_is_left(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def measure(*_: object) -> cost_estimate.VariantCost:
        measured.append(1)
        return COST

    monkeypatch.setattr(cost_estimate, "_measure", measure)
    recipe = load_recipe("weather")
    report = estimate(dataset, recipe)
    assert report.num_variants == 4 * NUM_FRAMES and report.num_variants_left == 0
    assert report.seconds_per_variant is None and report.hours == report.gigabytes == 0
    assert not measured
    table = next(iter(recipe.tables))
    (dataset / "_manifest" / table / "00000.json").unlink()
    hours = [estimate(dataset, recipe, num_workers=n).hours for n in (1, 4)]
    assert len(measured) == 2 and hours == [128 * 2 / 3600, 32 * 2 / 3600]


def test_a_retry_counts_what_is_in_quarantine(dataset: Path) -> None:
    manifest, plan = Manifest(dataset), GenerateJob(dataset=dataset).plan()
    assert plan_retry(manifest, plan.shards) == {}
