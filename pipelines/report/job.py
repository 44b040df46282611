"""Report jobs: what a dataset holds, what is wrong with it, and how it looks, as one HTML file."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from nightrain.datasets.io.atomic import no_space_is_disk_full, unwritable_is_refused, write_whole
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, last_attempts
from nightrain.datasets.shards.recipe_records import (
    condition_of,
    folder_of,
    names_of_folders,
    superseded_tables,
)
from nightrain.datasets.validation import Settings
from nightrain.pipelines.inspect.stats import DatasetStats, TableStats, dataset_stats
from nightrain.pipelines.report.plots import score_plot, stacked_bars
from nightrain.pipelines.report.state import dataset_state, state_of_report
from nightrain.pipelines.report.thumbnails import Place, Shown, Thumbnails

SAMPLED_ROWS = 200
NUM_BINS = 20
MOST_CODES, MOST_SCORES = 12, 12


class ReportJob(Settings):
    """Options of `nightrain report`."""

    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    out: Path = Field(default=Path("report.html"), description="HTML file to write")
    pictures: int = Field(
        default=8, ge=0, le=64, description="Pictures of each condition, score and reason"
    )
    if_changed: bool = Field(
        default=False,
        description="Keep an existing file if the dataset has not changed since it was written",
    )

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "report of nuscenes"."""
        return f"report of {self.dataset.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by."""
        return ("report",)


class Written(BaseModel):
    """Outcome of a report."""

    out: str
    num_bytes: int
    num_pictures: int
    is_kept: bool = False  # the file was there, and the dataset has not changed since
    stopped: bool = False

    @property
    def line(self) -> str:
        """Summary in one line."""
        if self.is_kept:
            return f"kept {self.out}: the dataset has not changed"
        size = f"{self.num_pictures} pictures, {self.num_bytes / 1e6:.1f} MB"
        return f"wrote {self.out}: {size}"


class Gallery(NamedTuple):
    """Pictures under one heading."""

    heading: str
    words: str
    pictures: list[Shown]


class VariantsSection(NamedTuple):
    """A table of variants: its counts, plots and pictures."""

    folder: str
    recipe: str  # names of the recipes that use the folder
    condition: str
    stats: TableStats
    settings: str  # of its recipe, as JSON
    severity_plot: str
    score_plots: dict[str, str]
    galleries: list[Gallery]


def write_report(job: ReportJob, progress: Callable[[int, int], None] | None = None) -> Written:
    """Write the report of a dataset; files that are gone are listed, and the rest is shown.

    `progress` receives (finished parts, number of parts). Raises InvalidRequest where the file
    cannot be written, CorruptShard, DiskFull.
    """
    manifest = Manifest(job.dataset)
    state = dataset_state(manifest, job.pictures)
    if job.if_changed and state_of_report(job.out) == state:
        size = job.out.stat().st_size
        return Written(out=str(job.out), num_bytes=size, num_pictures=0, is_kept=True)
    stats = dataset_stats(job.dataset, SAMPLED_ROWS)
    thumbnails = Thumbnails(manifest, stats.lost)
    old = {one.table for one in superseded_tables(job.dataset)}
    tables = [t for t in stats.tables if t.startswith("variants/") and t not in old]
    sections = []
    for number, table in enumerate(tables):
        entries = [e for e in manifest.entries(table) if e.rows.path not in stats.lost]
        sections.append(
            _variants_section(manifest, thumbnails, table, entries, stats.tables[table], job)
        )
        if progress is not None:
            progress(number + 1, len(tables))
    page = _page(job.dataset, stats, sections, _bad_rows(manifest, stats), old, state)
    with unwritable_is_refused(job.out.parent), no_space_is_disk_full(job.out.parent):
        write_whole(job.out, page)
    galleries = [gallery for section in sections for gallery in section.galleries]
    return Written(
        out=str(job.out),
        num_bytes=len(page.encode()),
        num_pictures=sum(len(gallery.pictures) for gallery in galleries),
    )


class _Scalars(NamedTuple):
    """Columns of a table's rows, and where each row is."""

    places: list[Place]
    columns: dict[str, list[Any]]


def _scalars(manifest: Manifest, entries: Sequence[Entry], names: Sequence[str]) -> _Scalars:
    places: list[Place] = []
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for entry in entries:
        found = manifest.reader(entry.rows).scan(names)
        places += [Place(entry.rows, row) for row in range(found.num_rows)]
        for name in names:
            columns[name] += found.column(name).to_pylist()
    return _Scalars(places, columns)


def _variants_section(
    manifest: Manifest,
    thumbnails: Thumbnails,
    table: str,
    entries: Sequence[Entry],
    stats: TableStats,
    job: ReportJob,
) -> VariantsSection:
    found = _scalars(manifest, entries, ("sample_id", "severity", "gate_scores"))
    galleries = [_evenly_spaced(thumbnails, found, job.pictures)]
    scores = _scores(found)
    for name in list(scores)[:MOST_SCORES]:
        galleries.append(_ends_of(thumbnails, found, name, scores[name], job.pictures))
    galleries += _rejected(manifest, thumbnails, entries, job.pictures)
    plots = {} if stats.gates is None else {n: score_plot(h) for n, h in stats.gates.scores.items()}
    settings = json.loads(entries[0].about.get("recipe_json", "{}")) if entries else {}
    return VariantsSection(
        folder=folder_of(table),
        recipe=", ".join(names_of_folders(manifest.root).get(folder_of(table), ())),
        condition=condition_of(table),
        stats=stats,
        settings=json.dumps(settings, indent=1, sort_keys=True),
        severity_plot=_severity_plot(found.columns["severity"]),
        score_plots=plots,
        galleries=[gallery for gallery in galleries if gallery.pictures],
    )


def _severity_plot(severities: Sequence[float | None]) -> str:
    known = [value for value in severities if value is not None]
    counts = [0] * NUM_BINS
    for value in known:
        counts[min(NUM_BINS - 1, int(value * NUM_BINS))] += 1
    return stacked_bars([counts], "severity 0", "1") if known else ""


def _evenly_spaced(thumbnails: Thumbnails, found: _Scalars, count: int) -> Gallery:
    total = len(found.places)
    chosen = [total * k // count for k in range(min(count, total))] if count else []
    return _gallery(thumbnails, found, chosen, "Evenly spaced", "", [""] * len(chosen))


def _scores(found: _Scalars) -> dict[str, list[tuple[float, int]]]:
    """Values of each score with the numbers of their rows, sorted."""
    of_score: dict[str, list[tuple[float, int]]] = {}
    for number, text in enumerate(found.columns["gate_scores"]):
        for gate, values in json.loads(text or "{}").items():
            for name, value in values.items():
                of_score.setdefault(f"{gate}.{name}", []).append((value, number))
    return {name: sorted(values) for name, values in sorted(of_score.items())}


def _ends_of(
    thumbnails: Thumbnails,
    found: _Scalars,
    name: str,
    values: Sequence[tuple[float, int]],
    count: int,
) -> Gallery:
    """Accepted variants with the lowest and the highest values of a score."""
    half = min(count // 2, len(values) // 2)
    chosen = [*values[:half], *values[len(values) - half :]]
    words = [f"{name} {value:.3g}" for value, _ in chosen]
    heading = f"Lowest and highest {name} of what is accepted"
    return _gallery(thumbnails, found, [number for _, number in chosen], heading, "", words)


def _gallery(
    thumbnails: Thumbnails,
    found: _Scalars,
    chosen: Sequence[int],
    heading: str,
    words: str,
    of_each: Sequence[str],
) -> Gallery:
    ids, severities = found.columns["sample_id"], found.columns["severity"]
    titles = [
        ids[n] if severities[n] is None else f"{ids[n]} · severity {severities[n]:.2f}"
        for n in chosen
    ]
    places = [found.places[n] for n in chosen]
    return Gallery(heading, words, list(thumbnails.pictures(places, titles, of_each)))


def _rejected(
    manifest: Manifest, thumbnails: Thumbnails, entries: Sequence[Entry], count: int
) -> Iterator[Gallery]:
    """Yield what gates rejected with the last seed, by reason code, the commonest first."""
    of_code: dict[str, list[tuple[Place, str, str]]] = {}
    for entry in last_attempts(entries):
        if entry.quarantine is None:
            continue
        rows = manifest.reader(entry.quarantine).scan(("sample_id", "codes", "message"))
        for row, values in enumerate(rows.to_pylist()):
            for code in values["codes"] or ():
                found = Place(entry.quarantine, row), values["sample_id"], values["message"] or ""
                of_code.setdefault(code, []).append(found)
    commonest = sorted(of_code.items(), key=lambda item: -len(item[1]))[:MOST_CODES]
    for code, rows in commonest:
        places, titles, words = zip(*rows[:count], strict=True) if rows[:count] else ((), (), ())
        pictures = list(thumbnails.pictures(places, titles, words))
        yield Gallery(f"Rejected: {code}", f"{len(rows)} variants", pictures)


class BadRows(NamedTuple):
    """Rows of a table that are in quarantine for one reason."""

    table: str
    reason: str
    num_rows: int
    example: str  # message of the first


def _bad_rows(manifest: Manifest, stats: DatasetStats) -> list[BadRows]:
    found: dict[tuple[str, str], list[str]] = {}
    for table in stats.tables:
        for entry in last_attempts(manifest.entries(table)):
            if entry.quarantine is not None and entry.quarantine.path not in stats.lost:
                rows = manifest.reader(entry.quarantine).scan(("reason", "message")).to_pylist()
                for row in rows:
                    found.setdefault((table, row["reason"]), []).append(row["message"] or "")
    return [BadRows(*key, len(words), words[0]) for key, words in found.items()]


def _page(
    dataset: Path,
    stats: DatasetStats,
    sections: Sequence[VariantsSection],
    bad_rows: Sequence[BadRows],
    superseded: Collection[str],
    state: str,
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("nightrain.pipelines.report", "."),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        name=dataset.resolve().name,
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        stats=stats,
        sections=sections,
        bad_rows=bad_rows,
        superseded=superseded,
        state=state,
        rights=_rights(Manifest(dataset), stats.lost),
    )


def _rights(manifest: Manifest, lost: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """Licence and attribution of the frames, with the number of frames."""
    found: dict[tuple[str, str], int] = {}
    for entry in manifest.entries(FRAMES):
        if entry.rows.path not in lost:
            rows = manifest.reader(entry.rows).scan(("licence", "attribution")).to_pylist()
            for row in rows:
                key = row["licence"] or "unknown", row["attribution"] or ""
                found[key] = found.get(key, 0) + 1
    return [(*key, count) for key, count in found.items()]
