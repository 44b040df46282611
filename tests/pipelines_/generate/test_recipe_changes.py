"""Changed recipes, end to end: a condition costs only itself, and readers find the current ones."""

import hashlib
import json
from pathlib import Path

import duckdb
import pytest
import yaml

from nightrain.datasets.conditions import Condition
from nightrain.datasets.loader.index import build_index
from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.recipe_records import select_tables, superseded_tables
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.generate.plan import plan_generation
from nightrain.pipelines.generate.replay import replay
from nightrain.pipelines.generate.variant_shard import GenerateShard
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop
from support.loader import config
from support.synthetic import SyntheticSource, TintEngine, all_rows, ingest_synthetic, recipe

NIGHT, FOG, RAIN = "night: {}", "fog: {lowest: 0.3}", "rain: {}"


def make(dataset: Path, *conditions: str, name: str = "mine", **options: object) -> RunReport:
    """Generate a recipe of these conditions; `options` are further fields."""
    path, stop = dataset.parent / f"{name}.yaml", Stop()
    more = "".join(f"{key}: {value}\n" for key, value in options.items())
    path.write_text(f"name: {name}\nconditions: {{{', '.join(conditions)}}}\n{more}")
    job = GenerateJob(dataset=dataset, recipe=str(path))
    return generate(job, executor=SerialExecutor(stop), stop=stop)


def files(dataset: Path) -> dict[str, tuple[str, int]]:
    """Digest and time of change of every data file and manifest entry of variants."""
    found = [p for top in ("variants", "_manifest/variants") for p in (dataset / top).rglob("*.*")]
    return {
        str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in found
    }


def conditions(report: RunReport) -> dict[str, int]:
    """Rows that a run committed, by condition."""
    return {table.rpartition("/")[2]: t.num_rows for table, t in report.tables.items()}


@pytest.fixture
def generated(dataset: Path) -> Path:
    assert conditions(make(dataset, NIGHT, FOG)) == {"night": 10, "fog": 10}
    return dataset


def test_a_new_condition_costs_only_itself(generated: Path) -> None:
    before = files(generated)
    report = make(generated, RAIN, NIGHT, FOG)
    assert conditions(report) == {"rain": 10} and report.num_already == 6 and not report.warnings
    after = files(generated)
    assert {path: after[path] for path in before} == before and len(after) == 1.5 * len(before)
    assert verify(generated).accepted and len(all_rows(generated)) == 30


def test_the_bytes_of_a_condition_do_not_depend_on_other_conditions(
    generated: Path, tmp_path: Path
) -> None:
    make(generated, NIGHT, name="alone")  # nothing to generate
    rows = {k: r for k, r in all_rows(generated).items() if r["condition"] == "night"}
    alone = tmp_path / "alone"
    ingest_synthetic(alone, SyntheticSource(num_frames=10), frames_per_shard=4)
    make(alone, NIGHT, name="other-name", description="The same night")
    assert all_rows(alone) == rows
    name = "variants/weather-*/night/00000.parquet"
    (first,), (second,) = generated.glob(name), alone.glob(name)
    assert first.relative_to(generated) == second.relative_to(alone)


def test_an_edited_condition_is_made_again_alone_and_said(generated: Path) -> None:
    before = files(generated)
    (night,) = (t for t in select_tables(Manifest(generated), "mine") if t.endswith("night"))
    report = make(generated, "night: {highest: 0.8}", FOG)
    assert conditions(report) == {"night": 10}
    after = files(generated)
    assert {path: after[path] for path in before} == before
    (words,) = report.warnings
    old, new = night.split("/")[1], next(iter(report.tables)).split("/")[1]
    assert words == (
        f"recipe mine was edited: night {new} supersedes {old}; the 10 variants of {old} stay "
        "until `nightrain prune --superseded`"
    )
    assert not make(generated, "night: {highest: 0.8}", FOG).warnings  # it was said


def test_a_dropped_condition_is_said_and_no_longer_read(generated: Path) -> None:
    (words,) = make(generated, FOG).warnings
    assert words.startswith("recipe mine no longer has night; the 10 variants of weather-")
    assert [t.rpartition("/")[2] for t in select_tables(Manifest(generated), "mine")] == ["fog"]


def test_recipes_with_equal_settings_share_rows(generated: Path) -> None:
    before = files(generated)
    report = make(generated, RAIN, NIGHT, name="second")
    assert conditions(report) == {"rain": 10} and report.num_already == 3
    assert {path: files(generated)[path] for path in before} == before
    manifest = Manifest(generated)
    mine, second = (set(select_tables(manifest, name)) for name in ("mine", "second"))
    assert {t.rpartition("/")[2] for t in mine & second} == {"night"}
    index = build_index(generated, config(recipes=("mine", "second")))
    assert len(index.variants) == 30  # the shared night counts once
    # An edit of one recipe leaves what the other one still uses.
    assert not make(generated, "night: {highest: 0.8}", FOG).warnings
    assert not superseded_tables(generated)


def test_a_changed_setting_keeps_severity_and_seed(generated: Path) -> None:
    """Variants before and after an edit differ in what was edited alone, so they compare."""
    before = all_rows(generated)
    make(generated, NIGHT, FOG, jpeg_quality=80)
    after = {k: r for k, r in all_rows(generated).items() if k not in before}
    draws = [
        sorted((r["frame_id"], r["condition"], r["seed"], r["severity"]) for r in rows.values())
        for rows in (before, after)
    ]
    assert draws[0] == draws[1] and len(draws[0]) == 20
    make(generated, NIGHT, FOG, seed=1)
    seeds = {r["seed"] for r in all_rows(generated).values()}
    assert len(seeds) == 40


def test_names_read_the_current_variants_and_hashes_any(generated: Path) -> None:
    old = select_tables(Manifest(generated), "mine")
    make(generated, "night: {highest: 0.8}", FOG)
    index = build_index(generated, config(recipes=("mine",)))
    assert len(index.variants) == 20
    read = {file.path.rpartition("/")[0] for file in index.variants.files}
    assert read == set(select_tables(Manifest(generated), "mine")) != set(old)
    (night,) = (t.split("/")[1] for t in old if t.endswith("night"))
    index = build_index(generated, config(recipes=(night,)))
    assert {f.path.split("/")[1] for f in index.variants.files} == {night}


def test_the_card_names_the_current_variants_alone(generated: Path) -> None:
    make(generated, "night: {highest: 0.8}", FOG)
    make(generated, FOG, name="second")
    card = (generated / "README.md").read_text()
    configs = {
        c["config_name"]: {path.rpartition("/")[0] for d in c["data_files"] for path in d["path"]}
        for c in yaml.safe_load(card.split("---")[1])["configs"]
    }
    assert configs.keys() == {"variants", "frames", "mine-night", "mine-fog", "second-fog"}
    assert configs["variants"] == configs["mine-night"] | configs["mine-fog"]
    assert configs["mine-fog"] == configs["second-fog"]
    (old,) = (s.table for s in superseded_tables(generated))
    assert f"| {old} | superseded |" in card and {old} not in configs.values()
    view = card.split("```sql")[1].split("```")[0]
    assert old not in view
    sql = view.replace("'variants/", f"'{generated}/variants/")
    connection = duckdb.connect()
    connection.sql(sql)
    assert connection.sql("select count(*) from variants").fetchall() == [(20,)]


def test_a_replay_needs_no_recipe_file(generated: Path) -> None:
    (generated.parent / "mine.yaml").unlink()
    sample_id, row = next(iter(all_rows(generated).items()))
    report = replay(generated, sample_id)
    assert report.identical and report.recipe == row["recipe"]
    entry = Manifest(generated).entries(f"variants/{row['recipe']}/{row['condition']}")[0]
    assert list(json.loads(entry.about["recipe_json"])["conditions"]) == [row["condition"]]


def test_a_plan_says_which_conditions_are_left(generated: Path) -> None:
    make(generated, NIGHT, FOG, RAIN)
    plan = plan_generation(Manifest(generated), load_recipe(str(generated.parent / "mine.yaml")))
    assert all(Manifest(generated).entry(shard) for shard in plan.shards)


def test_a_recipe_of_another_name_resumes_a_stopped_shard(dataset: Path) -> None:
    """Finished rows are kept for whoever generates the same settings next."""
    first = recipe(Condition.NIGHT, name="first")
    second = recipe(Condition.FOG, Condition.NIGHT, name="second")
    shard = Shard(table=first.table(Condition.NIGHT), number=0)
    stop, engines = Stop(), [TintEngine(), TintEngine()]
    stopping.set_current(stop)
    work = GenerateShard(dataset, first, engines[0])
    report = work(shard, on_rows=lambda _: stop.request())
    assert report.status == "stopped" and 0 < report.num_rows < 4
    stopping.set_current(Stop())
    assert GenerateShard(dataset, second, engines[1])(shard).status == "committed"
    made = [{name for call in engine.calls for name in call} for engine in engines]
    assert not made[0] & made[1] and len(made[0] | made[1]) == 4
