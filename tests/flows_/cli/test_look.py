"""`sql` and `predict`: rows in five views and no way out of the dataset, and depth of pictures."""

import csv
import io
import json
from pathlib import Path

import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import encode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.pipelines.inspect.sql import VIEWS, run_sql
from support.command import Command
from support.pictures import blocks
from support.synthetic import all_rows
from support.tiny_depth_models import save_teacher

RECIPE = "name: asked\ndepth: exact\nconditions: {fog: {}}\ngates: [faults]\ngate_seeds: 1\n"


@pytest.fixture
def generated(dataset: Path, tmp_path: Path, nightrain: Command) -> Path:
    """Ten variants that are superseded, and then the same frames with stricter limits."""
    recipe = tmp_path / "recipe.yaml"
    for limit in ("0", "255"):
        recipe.write_text(RECIPE.replace("[faults]", f"[{{name: faults, least_spread: {limit}}}]"))
        fields = ("--runner", "local", "--max-rejected", "100%")
        assert nightrain("generate", dataset, "--recipe", recipe, *fields)[0] == 0
    return dataset


def test_views_hold_what_is_committed_and_current(generated: Path) -> None:
    counts = {view: run_sql(generated, f"select count(*) from {view}", 5).rows for view in VIEWS}
    manifest = Manifest(generated)
    num_shards = sum(len(manifest.entries(table)) for table in manifest.tables())
    num_frames = sum(e.rows.num_rows for e in manifest.entries(FRAMES))
    assert counts == {
        "frames": [(num_frames,)],
        "variants": [(0,)],  # the stricter limits reject all, and the others are superseded
        "labels": [(0,)],
        "quarantine": [(10,)],
        "reviews": [(0,)],
        "shards": [(num_shards,)],
        "runs": [(2,)],
    }
    query = "select is_current, sum(rows), sum(quarantined) from shards where recipe is not null "
    assert run_sql(generated, query + "group by 1 order by 1", 5).rows == [
        (False, 10, 0),
        (True, 0, 10),
    ]
    query = "select count(*) from shards where committed_at > now() - interval 1 hour"
    assert run_sql(generated, query, 5).rows == counts["shards"]
    query = "select distinct codes[1], of_table from quarantine"
    ((code, table),) = run_sql(generated, query, 5).rows
    assert code == "faults.flat" and table in manifest.tables("variants/")


def test_each_form_says_the_same(dataset: Path, tmp_path: Path, nightrain: Command) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    assert nightrain("generate", dataset, "--recipe", recipe, "--runner", "local")[0] == 0
    name = sorted(all_rows(dataset))[0]
    assert nightrain("review", dataset, name, "reject", "--reason", "a 'quoted' reason")[0] == 0
    query = (
        "select v.sample_id, v.severity, r.reason, v.image from variants v "
        "join reviews r using (sample_id)"
    )
    code, said = nightrain("sql", dataset, query, "--as", "json")
    (row,) = json.loads(said)
    assert code == 0 and row["sample_id"] == name and row["reason"] == "a 'quoted' reason"
    assert row["image"]["bytes"].endswith(" bytes")
    code, said = nightrain("sql", dataset, query, "--as", "csv")
    (again,) = csv.DictReader(io.StringIO(said))
    assert again["sample_id"] == name and float(again["severity"]) == pytest.approx(row["severity"])
    code, said = nightrain("sql", dataset, "select frame_id from frames", "--rows", "2")
    assert code == 0 and "only the first 2 rows" in said


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            "select nothing from variants",
            "Views: frames, variants, labels, quarantine, reviews, shards, runs",
        ),
        ("selec 1", "is not SQL"),
        ("", "found nothing, expected one SELECT"),
        ("select 1; select 2", "found SELECT, SELECT, expected one SELECT"),
        ("copy frames to 'out.csv'", "found COPY, expected one SELECT"),
        ("drop view frames", "found DROP, expected one SELECT"),
        ("attach 'other.db'", "found ATTACH, expected one SELECT"),
        ("set enable_external_access = true", "found SET, expected one SELECT"),
        ("select * from read_csv('/etc/passwd')", "The query failed"),
        ("select * from read_text('/etc/hostname')", "The query failed"),
        ("select * from '/etc/passwd'", "The query failed"),
        ("select * from glob('/etc/*')", "The query failed"),
        ("select * from lost", "The query failed"),  # a variable of the process
    ],
)
def test_a_query_leaves_neither_the_views_nor_select(dataset: Path, query: str, words: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    with pytest.raises(InvalidRequest, match=words):
        run_sql(dataset, query, 5)
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def test_a_file_that_is_gone_is_left_out_and_named(dataset: Path, nightrain: Command) -> None:
    entries = Manifest(dataset).entries(FRAMES)
    (dataset / entries[0].rows.path).unlink()
    rest = sum(entry.rows.num_rows for entry in entries[1:])
    code, said = nightrain("sql", dataset, "select count(*) from frames", "--as", "csv")
    assert code == 0 and f"left out {entries[0].rows.path}" in said and f"\n{rest}" in said
    code, said = nightrain("sql", dataset.parent / "none", "select 1")
    assert code == 2


def test_predict_lists_what_it_left_out(tmp_path: Path, nightrain: Command) -> None:
    pictures, model = tmp_path / "pictures", save_teacher(tmp_path / "teacher")
    pictures.mkdir()
    (pictures / "a.jpg").write_bytes(encode_jpeg(blocks(1)))
    (pictures / "broken.jpg").write_bytes(b"no picture")
    code, said = nightrain("predict", model, pictures, "--out", tmp_path / "out")
    assert code == 3 and "wrote the depth of 1 pictures" in said and "broken.jpg" in said
    code, said = nightrain("predict", pictures, pictures / "a.jpg", "--out", tmp_path / "other")
    assert code == 2
