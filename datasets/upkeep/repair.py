"""Repair: finds damaged, lost and unaccounted files, and brings the dataset to a valid state.

A shard that cannot be read loses its manifest entry, so that the command that made it makes it
again. Only what is damaged is removed.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from nightrain.datasets.errors import CorruptShard, PlanMismatch, UnreadableFile
from nightrain.datasets.io.regular import files_below, kind_of
from nightrain.datasets.shards.label_rows import require_same_frames
from nightrain.datasets.shards.manifest import (
    CAPTIONS,
    CONTROLS,
    FRAMES,
    LABELS,
    ROW_BY_ROW,
    Entry,
    Manifest,
    Shard,
    shard_of_file,
)
from nightrain.datasets.shards.parquet import ShardFile
from nightrain.datasets.shards.partial import PartialShard
from nightrain.datasets.shards.verify import read_file, require_in_place
from nightrain.datasets.upkeep.adopt import Prover, adopt
from nightrain.datasets.upkeep.changes import (
    files_of,
    leased,
    remove_files,
    remove_shard,
    require_changeable,
    require_idle,
)
from nightrain.datasets.upkeep.migrations import SCHEMAS, kind_of_table
from nightrain.datasets.upkeep.records import damaged_pinned, damaged_plans, unplanned_numbers

Progress = Callable[[int, int], None]
Step = Literal[
    "make again",
    "make rejected again",
    "remove entry",
    "adopt or remove",
    "frames first",
    "make record anew",
    "remove record",
    "by hand",
]
LEFT: tuple[Step, ...] = ("frames first", "by hand")
COMMANDS = {
    FRAMES: "ingest",
    CAPTIONS: "caption",
    LABELS: "label",
    CONTROLS: "controls",
    "variants": "generate",
}


STEPS: dict[Step, str] = {
    "make again": "removed, for `{command}` to make it again",
    "make rejected again": "its rejected rows removed, for `{command}` to make only them again",
    "remove entry": "the entry removed, and its files adopted or removed",
    "adopt or remove": "adopted if every byte can be proven, else removed, for `{command}` to make "
    "it again",
    "frames first": "nothing is done; `nightrain ingest` makes its frames again",
    "make record anew": "made anew from the committed shards",
    "remove record": "removed, for `nightrain generate` to record it again",
    "by hand": "nothing is done; restore it from a copy, or check its permissions and its disk",
}


class Finding(BaseModel):
    """One thing that is wrong, what is done about it, and what came of it."""

    path: str
    problem: str
    step: Step
    shard: Shard | None = None
    files: tuple[str, ...] = ()
    outcome: str = ""  # "" before it is done

    @property
    def words(self) -> str:
        """What is done about it, in words."""
        return STEPS[self.step].format(command=self.command)

    @property
    def command(self) -> str:
        """Command that makes the shard again."""
        if self.shard is None:
            return ""
        retry = " --retry-failed" if self.shard.retry else ""
        return f"nightrain {COMMANDS[kind_of_table(self.shard.table)]}{retry}"


class RepairReport(BaseModel):
    """Findings of a repair."""

    num_shards: int = 0
    findings: list[Finding] = []
    done: bool = False

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do by hand or at all."""
        return not self.findings or (self.done and all(f.step not in LEFT for f in self.findings))


def find_damage(root: Path, progress: Progress | None = None) -> RepairReport:
    """Check everything and say what a repair would do; changes nothing.

    Raises InvalidRequest while another process makes shards, PlanMismatch for another schema
    version, UnreadableFile for folders that cannot be listed.
    """
    require_idle(root)
    manifest, report = Manifest(root), RepairReport()
    entries: list[Entry] = []
    for path in files_below(root / "_manifest", ".json"):
        try:
            entries.append(manifest.read_entry(path))
        except (CorruptShard, UnreadableFile) as error:
            report.findings.append(_bad_entry(root, path, error))
    frames = {entry.shard: entry for entry in entries if entry.shard.table == FRAMES}
    for number, entry in enumerate(entries):
        if finding := _check(manifest, entry, frames):
            report.findings.append(finding)
        if progress is not None:
            progress(number + 1, len(entries))
    report.num_shards = len(entries)
    report.findings += _orphans(root, entries)
    _check_records(manifest, report)
    handled = {f.shard.number for f in report.findings if f.shard and f.shard.table == FRAMES}
    report.findings = [
        f
        for f in report.findings
        if f.step != "frames first" or f.shard is None or f.shard.number not in handled
    ]
    return report


def repair(root: Path, report: RepairReport) -> RepairReport:
    """Do what a report says, and return it with the outcomes; raises InvalidRequest, DiskFull."""
    require_changeable(root)
    manifest = Manifest(root)
    # Frames first: other shards are adopted only if their frames are committed.
    order = sorted(report.findings, key=lambda f: (f.step == "adopt or remove", f.path))
    order.sort(key=lambda f: f.shard is None or f.shard.table != FRAMES)
    records = [finding for finding in order if "record" in finding.step]
    done = list(_repair_records(manifest, records))  # first: adoption needs the plans
    with Prover() as prover:
        others = [finding for finding in order if finding not in records]
        done += [f.model_copy(update={"outcome": _repair(manifest, f, prover)}) for f in others]
    manifest.sweep()
    return report.model_copy(update={"findings": done, "done": True})


def _check_records(manifest: Manifest, report: RepairReport) -> None:
    """Add findings for plans and pinned settings.

    Frames of a plan that is lost for good stay as they are: nothing else says which they were.
    """
    plans = damaged_plans(manifest)
    if any(plan.by_hand for plan in plans):
        numbers = [f.shard.number for f in report.findings if f.shard and f.shard.table == FRAMES]
        kept = unplanned_numbers(manifest, numbers)
        for finding in report.findings:
            shard = finding.shard
            if shard is not None and shard.table == FRAMES and shard.number in kept:
                finding.step = "by hand"
    for record in (*plans, *damaged_pinned(manifest)):
        step: Step = "make record anew" if record.data is not None else "remove record"
        report.findings.append(
            Finding(
                path=str(record.path.relative_to(manifest.root)),
                problem=record.problem,
                step="by hand" if record.by_hand else step,
            )
        )


def _repair_records(manifest: Manifest, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Repair plans and pinned settings that were found damaged and still are."""
    found = [*damaged_plans(manifest), *damaged_pinned(manifest)]
    damaged = {str(r.path.relative_to(manifest.root)): r for r in found if not r.by_hand}
    for finding in findings:
        record = damaged.get(finding.path)
        done = "is intact now" if record is None else record.repair(manifest.root)
        yield finding.model_copy(update={"outcome": done})


def _bad_entry(root: Path, path: Path, error: Exception) -> Finding:
    name = str(path.relative_to(root))
    shard = shard_of_file(f"{name.removeprefix('_manifest/').removesuffix('.json')}.parquet")
    damaged = isinstance(error, CorruptShard) or kind_of(path) != "a regular file"
    step: Step = "remove entry" if damaged and shard is not None else "by hand"
    return Finding(path=name, problem=str(error), step=step, shard=shard)


def _check(manifest: Manifest, entry: Entry, frames: dict[Shard, Entry]) -> Finding | None:
    """Check the files of a shard, and its match with its frames."""
    found: Finding | None = None
    for file, step in ((entry.rows, "make again"), (entry.quarantine, "make rejected again")):
        problem = None if file is None else _problem(manifest, file)
        if file is None or problem is None or (found and found.step == "make again"):
            continue
        by_hand = isinstance(problem, UnreadableFile)
        found = Finding(
            path=file.path,
            problem=str(problem),
            step="by hand" if by_hand else step,  # type: ignore[arg-type]
            shard=entry.shard,
            files=tuple(files_of(entry)),
        )
    if found is None and "frames_sha256" in entry.about:
        return _check_frames(entry, frames)
    return found


def _check_frames(entry: Entry, frames: dict[Shard, Entry]) -> Finding | None:
    retry = 0 if entry.shard.table.startswith("variants/") else entry.shard.retry
    of = frames.get(Shard(table=FRAMES, number=entry.shard.number, retry=retry))
    finding = Finding(path=entry.rows.path, problem="", step="make again", shard=entry.shard)
    finding.files = tuple(files_of(entry))
    if of is None:
        words = f"its frames, {FRAMES}/{entry.shard.number:05d}, are not committed"
        return finding.model_copy(update={"problem": words, "step": "frames first"})
    try:
        if kind_of_table(entry.shard.table) in ROW_BY_ROW:
            require_same_frames(of, entry)
        elif entry.about["frames_sha256"] != of.rows.keys_sha256:
            raise PlanMismatch(f"{of.shard.name} holds other frames than it was made from")
    except PlanMismatch as error:
        return finding.model_copy(update={"problem": str(error)})
    return None


def _problem(manifest: Manifest, file: ShardFile) -> Exception | None:
    try:
        require_in_place(manifest.root, file)
        read_file(manifest, file)
    except (CorruptShard, UnreadableFile) as error:
        return error
    except OSError as error:
        return UnreadableFile(f"{file.path} cannot be read: {error}")
    return None


def _orphans(root: Path, entries: list[Entry]) -> Iterator[Finding]:
    """Yield a finding per shard with data files that no readable entry names."""
    manifest = Manifest(root)
    known = {path for entry in entries for path in files_of(entry)}
    committed = {entry.shard.name for entry in entries}
    by_shard: dict[Shard | None, list[str]] = {}
    for name in manifest.data_files():
        if name not in known:
            by_shard.setdefault(shard_of_file(name), []).append(name)
    for shard, names in by_shard.items():
        if shard is not None and shard.name in committed:
            continue  # swept
        problem = "no manifest entry names it, and no process is committing it"
        step: Step = "by hand" if shard is None else "adopt or remove"
        yield Finding(path=names[0], problem=problem, step=step, shard=shard, files=tuple(names))


def _repair(manifest: Manifest, finding: Finding, prover: Prover) -> str:
    """Do what a finding says; return what was done."""
    root, shard = manifest.root, finding.shard
    if finding.step in LEFT or shard is None:
        return "left as it is" if finding.step == "by hand" else finding.words
    with leased(manifest, shard):
        if finding.step == "remove entry":
            remove_files(root, [finding.path])
            return "removed the entry; its files are handled below"
        if finding.step == "adopt or remove":
            return _adopt(manifest, shard, sorted(finding.files), prover)
        if finding.step == "make rejected again":
            _keep_rows(manifest, shard)
        remove_shard(manifest, shard, finding.files)
    kept = "its intact rows are kept as a head start; " if "rejected" in finding.step else ""
    return f"removed; {kept}run `{finding.command}` as before to make it again"


def _adopt(manifest: Manifest, shard: Shard, names: list[str], prover: Prover) -> str:
    try:
        entry = adopt(manifest, shard, names, prover)
    except (CorruptShard, UnreadableFile) as error:
        if isinstance(error, UnreadableFile) and not _strange(manifest.root, names):
            return f"left as it is: {error}"
        remove_files(manifest.root, names)
        command = f"nightrain {COMMANDS[kind_of_table(shard.table)]}"
        return f"removed ({error}); run `{command}` as before to make it again"
    remove_files(manifest.root, set(names) - set(files_of(entry)))
    return f"adopted: {entry.rows.num_rows} rows, proven byte by byte"


def _strange(root: Path, names: Iterable[str]) -> bool:
    """Whether one of the names is not a regular file; then reading it fails for that reason."""
    return any(kind_of(root / name) != "a regular file" for name in names)


def _keep_rows(manifest: Manifest, shard: Shard) -> None:
    """Keep a shard's intact rows as a head start: only the rejected ones are made again."""
    entry = manifest.entry(shard)
    if entry is None:
        return
    schema = SCHEMAS[kind_of_table(shard.table)]
    with manifest.writer(shard.table, schema, entry.about) as writer:
        for row in manifest.reader(entry.rows).rows():
            writer.add(row)
        PartialShard(manifest.root, shard, schema, entry.about).keep(writer)
