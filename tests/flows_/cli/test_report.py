"""`report`: one file that shows what is there, loads nothing, and trusts no text of the dataset."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.pipelines.inspect.gate_stats import Histogram
from nightrain.pipelines.report.plots import score_plot, stacked_bars
from support.command import Command
from support.synthetic import all_rows

RECIPE = (
    "name: shown\ndepth: exact\nconditions: {night: {}, fog: {}}\ngates: [faults]\ngate_seeds: 1\n"
)
VOID = {"meta", "img", "br", "rect"}


class Page(HTMLParser):
    """Checks that tags are closed, and collects headings, captions and sources of pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.sources.append(dict(attrs)["src"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture
def generated(dataset: Path, tmp_path: Path, nightrain: Command) -> Path:
    """Variants of two conditions; the limit rejects some of them."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    assert nightrain("generate", dataset, "--recipe", recipe, "--runner", "local")[0] == 0
    scores = [json.loads(row["gate_scores"])["faults"] for row in all_rows(dataset).values()]
    limit = sorted(score["spread"] for score in scores)[7] + 1e-4
    recipe.write_text(RECIPE.replace("[faults]", f"[{{name: faults, least_spread: {limit}}}]"))
    assert nightrain("regate", dataset, "--recipe", recipe)[0] == 0
    return dataset


def test_a_report_shows_what_is_current_and_what_was_rejected(
    generated: Path, tmp_path: Path, nightrain: Command
) -> None:
    out = tmp_path / "report.html"
    code, said = nightrain("report", generated, "--out", out, "--pictures", "4", "--json")
    written, text = json.loads(said), out.read_text()
    assert code == 0 and written["num_bytes"] == len(text.encode())
    page = Page(text)
    # Per condition 4 evenly spaced ones and 4 of each of five scores; rejected ones as they are.
    headings = re.findall(r"<h3>(.*?)</h3>", text)
    assert headings.count("Evenly spaced") == 2
    assert sum("Lowest and highest faults.spread" in heading for heading in headings) == 2
    assert any(heading == "Rejected: faults.flat" for heading in headings)
    assert len(page.sources) == 2 * written["num_pictures"]  # each beside its clear frame
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    current = {row["recipe"] for row in all_rows(generated).values()}
    shown = {match for match in re.findall(r"<small>(weather-[0-9a-f]{8})</small></h2>", text)}
    assert len(current) == 4 and len(shown) == 2  # the two before the limit are superseded
    counts = re.findall(r"<p>(\d+) variants", text)
    rejected = int(re.search(r"Rejected: faults.flat</h3>\s*<p>(\d+) variants", text)[1])
    assert sum(map(int, counts)) > 0 and 1 <= rejected <= 8


def test_nothing_is_loaded_and_texts_stay_texts(
    dataset: Path, tmp_path: Path, nightrain: Command
) -> None:
    words = '"<script>alert(1)</script>"'
    hostile = f"name: x\ndescription: {words}\ndepth: exact\nconditions: {{fog: {{}}}}\n"
    recipe, named = tmp_path / "recipe.yaml", tmp_path / "<b>'&name"
    recipe.write_text(hostile)
    assert nightrain("generate", dataset, "--recipe", recipe, "--runner", "local")[0] == 0
    dataset.rename(named)
    code, _ = nightrain("report", named, "--out", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    assert code == 0 and not {"script", "b", "link", "iframe", "object"} & {*page.tags}
    assert "<title>&lt;b&gt;&#39;&amp;name" in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text) and "http" not in text.replace(
        "http-equiv", ""
    )
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text


def test_a_file_that_is_gone_is_listed_and_the_rest_is_shown(
    generated: Path, tmp_path: Path, nightrain: Command
) -> None:
    gone = Manifest(generated).entries(FRAMES)[0].rows.path
    (generated / gone).unlink()
    code, _ = nightrain("report", generated, "--out", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert code == 0 and gone in text and "Files that are gone" in text and "Evenly spaced" in text
    (tmp_path / "file").write_text("")
    cases = (tmp_path / "nothing", tmp_path / "r.html"), (generated, tmp_path / "file" / "r.html")
    for where, out in cases:
        assert nightrain("report", where, "--out", out)[0] == 2


def test_bars_add_up() -> None:
    histogram = Histogram(lowest=0, highest=2, accepted=(4, 0, 1), rejected=(0, 2, 1))
    text = score_plot(histogram)
    heights = [float(tall) for tall in re.findall(r'height="([\d.]+)"', text)]
    assert heights == pytest.approx([76, 38, 19, 19]) and text.count("kind-1") == 2
    assert ">0<" in text and ">2<" in text
    assert "<rect" not in stacked_bars([[0, 0]], "a", "b")


def test_a_report_is_kept_until_the_dataset_changes(
    generated: Path, tmp_path: Path, nightrain: Command
) -> None:
    out = tmp_path / "report.html"
    report = ("report", generated, "--out", out, "--if-changed")
    assert nightrain(*report)[1].startswith("wrote ")
    written_ns = out.stat().st_mtime_ns
    code, said = nightrain(*report)
    assert code == 0 and "the dataset has not changed" in said
    assert out.stat().st_mtime_ns == written_ns
    assert nightrain(*report, "--pictures", "2")[1].startswith("wrote ")  # other pictures
    assert nightrain(*report[:-1], "--pictures", "2")[1].startswith("wrote ")  # without the option
    assert "has not changed" in nightrain(*report, "--pictures", "2")[1]
    generate = ("generate", generated, "--recipe", "weather", "--runner", "local")
    assert nightrain(*generate)[0] == 0
    assert nightrain(*report, "--pictures", "2")[1].startswith("wrote ")
    out.write_text("not a report of ours")
    assert nightrain(*report)[1].startswith("wrote ")
