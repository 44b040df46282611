"""Damaged records of a dataset, plans of frames and pinned settings, made anew from its shards.

A plan is made from the frames that are committed: its shards hold all of them, in their rows or in
their quarantine. Its options are not recorded there and stay unknown. Frames that it had planned
but that are not committed are planned again by the next `ingest`.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from nightrain.datasets.errors import CorruptShard, UnreadableFile
from nightrain.datasets.io.atomic import replace_file
from nightrain.datasets.io.record import record_bytes
from nightrain.datasets.io.regular import matching
from nightrain.datasets.shards.frame_plan import FramePlan, PlannedShard, plan_path, read_plan
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, shard_of_file
from nightrain.datasets.shards.pinned import ENDING, pinned_paths, read_pinned
from nightrain.datasets.shards.recipe_records import RECIPES, VARIANTS


@dataclass(frozen=True, slots=True)
class DamagedRecord:
    """A record that cannot be read, and its new content: None if it is removed instead."""

    path: Path
    problem: str
    data: bytes | None = None
    by_hand: bool = False  # nothing can be done about it
    then: str = ""  # what to run afterwards

    def repair(self, root: Path) -> str:
        """Write or remove the record; return what was done. Raises DiskFull."""
        if self.data is None:
            self.path.unlink()
            return f"removed; {self.then}"
        replace_file(root, self.path, self.data)
        return f"made anew; {self.then}"


def damaged_pinned(manifest: Manifest) -> Iterator[DamagedRecord]:
    """Yield the damaged records of pinned settings; raises UnreadableFile."""
    for path in pinned_paths(manifest.root):
        try:
            read_pinned(manifest.root, path)
        except CorruptShard as error:
            yield _pinned_anew(manifest, DamagedRecord(path, str(error)))
        except UnreadableFile as error:
            yield DamagedRecord(path, str(error), by_hand=True)


def _pinned_anew(manifest: Manifest, damaged: DamagedRecord) -> DamagedRecord:
    """Make a pinned batch size anew from the rows; a recipe's record is removed."""
    name = str(damaged.path.relative_to(manifest.root / "_manifest")).removesuffix(ENDING)
    if name.startswith(f"{RECIPES}/"):
        recipe = name.split("/")[1]
        return replace(damaged, then=f"run `nightrain generate` with {recipe!r} to record it again")
    if not name.startswith(VARIANTS):
        return replace(damaged, by_hand=True)
    settings = _batch_size(manifest, name)
    if settings is None:
        return replace(damaged, then="`nightrain generate` finds and pins it again")
    data = record_bytes("pinned", {"name": name, "settings": settings})
    return replace(damaged, data=data, then=f"batch size {settings['batch_size']}, as of the rows")


def _batch_size(manifest: Manifest, folder: str) -> dict[str, str] | None:
    """Batch size and device of the rows below a folder of variants; None without such rows."""
    sizes: dict[int, dict[str, str]] = {}
    for table in manifest.tables(f"{folder}/"):
        for entry in manifest.entries(table):
            for row in manifest.reader(entry.rows).rows(["batch_size", "device"]):
                if row["batch_size"]:
                    found = {"recipe_hash": entry.about.get("recipe_hash", "")}
                    found |= {"batch_size": str(row["batch_size"]), "device": row["device"] or ""}
                    sizes.setdefault(row["batch_size"], found)
    # Smaller batches were split for lack of memory.
    return sizes[max(sizes)] if sizes else None


def damaged_plans(manifest: Manifest) -> list[DamagedRecord]:
    """Damaged and lost plans of frames, with new content if all their frames can be read.

    Raises UnreadableFile.
    """
    problems, plans = _read_plans(manifest.root)
    lost = _unplanned_entries(manifest, plans)
    if not problems and not lost:
        return []
    for number in range(len(plans), len(plans) + bool(lost)):
        problems.setdefault(number, "no plan names the last committed frames")
    paths = {number: plan_path(manifest.root, number) for number in problems}
    try:
        _require_entries(manifest, plans)
        rebuilt = _rebuilt(plans, [(e, _planned_shard(manifest, e)) for e in lost])
    except CorruptShard as error:
        why = f"it cannot be made anew: {error}"
        return [DamagedRecord(paths[n], f"{problems[n]} ({why})", by_hand=True) for n in problems]
    return [
        DamagedRecord(
            plan_path(manifest.root, number),
            problems.get(number, "no plan names these committed frames"),
            record_bytes("plan", plan.model_dump(mode="json")),
            then="its options are not known: run `nightrain ingest` with those of the first time",
        )
        for number, plan in sorted(rebuilt.items())
    ]


def unplanned_numbers(manifest: Manifest, numbers: Sequence[int]) -> set[int]:
    """Those numbers of frames shards that no readable plan names."""
    _, plans = _read_plans(manifest.root)
    return {*numbers} - _numbers(plans)


def _read_plans(root: Path) -> tuple[dict[int, str], list[FramePlan | None]]:
    """Problems of plans by number, and all plans; None for a damaged or missing one."""
    stems = [path.stem for path in matching(root / "_plan", "*.json")]
    problems: dict[int, str] = {}
    plans: list[FramePlan | None] = []
    for number in range(max((int(stem) + 1 for stem in stems if stem.isdecimal()), default=0)):
        try:
            plans.append(read_plan(plan_path(root, number)))
        except CorruptShard as error:
            problems[number] = str(error)
            plans.append(None)
    return problems, plans


def _unplanned_entries(manifest: Manifest, plans: Sequence[FramePlan | None]) -> list[Entry]:
    """Readable entries of frames that no readable plan names, in order."""
    planned, entries = _numbers(plans), list[Entry]()
    for path in matching(manifest.root / "_manifest" / FRAMES, "*.json"):
        with suppress(CorruptShard, FileNotFoundError):
            entries.append(manifest.read_entry(path))
    lost = [entry for entry in entries if entry.shard.number not in planned]
    return sorted(lost, key=lambda entry: entry.shard.number)


def _numbers(plans: Sequence[FramePlan | None]) -> set[int]:
    return {shard.number for plan in plans if plan is not None for shard in plan.shards}


def _require_entries(manifest: Manifest, plans: Sequence[FramePlan | None]) -> None:
    """Raise CorruptShard for unplanned frames files of which the entry is damaged or lost."""
    known = _numbers(plans) | {e.shard.number for e in _unplanned_entries(manifest, plans)}
    for name in manifest.data_files():
        shard = shard_of_file(name)
        if shard is not None and shard.table == FRAMES and shard.number not in known:
            raise CorruptShard(f"{name}, which may belong to it, has no intact manifest entry")


def _rebuilt(
    plans: Sequence[FramePlan | None], lost: Sequence[tuple[Entry, PlannedShard]]
) -> dict[int, FramePlan]:
    """New plans by number for those that are None, and behind them for frames in no plan.

    Each plan is of one source. Raises CorruptShard if they are fewer than that needs.
    """
    left = _with_origin(plans, lost)
    rebuilt: dict[int, FramePlan] = {}
    for number, plan in enumerate(plans):
        behind = [p.shards[0].number for p in plans[number + 1 :] if p is not None and p.shards]
        here = [item for item in left if not behind or item[1].number < behind[0]]
        if plan is not None or not here:
            if plan is None:
                rebuilt[number] = FramePlan(source="", options=None, shards=())
            continue
        run = [*next(groupby(here, lambda item: item[0]))[1]]
        if len(run) < len(here) and number + 1 < len(plans) and plans[number + 1] is not None:
            raise CorruptShard("the frames behind it are of several plans")
        rebuilt[number] = _plan_of(run)
        left = left[len(run) :]
    for number, (_, run) in enumerate(groupby(left, lambda item: item[0]), start=len(plans)):
        rebuilt[number] = _plan_of([*run])
    return _with_retried(rebuilt, plans)


Origin = tuple[str, bool]  # source, and whether frames of earlier shards are read again


def _with_origin(
    plans: Sequence[FramePlan | None], lost: Sequence[tuple[Entry, PlannedShard]]
) -> list[tuple[Origin, PlannedShard]]:
    """Lost shards with the source and the kind of their plan, in order."""
    sources = {planned.number: entry.about.get("source", "") for entry, planned in lost}
    intact = [shard for plan in plans if plan is not None for shard in plan.shards]
    found, seen = list[tuple[Origin, PlannedShard]](), set[str]()
    for shard in sorted([*intact, *(p for _, p in lost)], key=lambda s: s.number):
        if shard.number in sources:
            again = bool(shard.frame_ids) and {*shard.frame_ids} <= seen
            found.append(((sources[shard.number], again), shard))
        seen |= {*shard.frame_ids}
    return found


def _plan_of(run: Sequence[tuple[Origin, PlannedShard]]) -> FramePlan:
    source, again = run[0][0]
    shards = tuple(shard for _, shard in run)
    return FramePlan(source=source, options=None, retry=again, shards=shards)


def _planned_shard(manifest: Manifest, entry: Entry) -> PlannedShard:
    """The frames of a committed shard: those in its rows, then those in quarantine."""
    frame_ids: list[str] = []
    for file in filter(None, (entry.rows, entry.quarantine)):
        try:
            frame_ids += [row["frame_id"] for row in manifest.reader(file).rows(["frame_id"])]
        except UnreadableFile as error:
            raise CorruptShard(str(error)) from error
    return PlannedShard(
        number=entry.shard.number,
        split=entry.about.get("split", "none"),
        condition=entry.about.get("condition", "clear"),
        frame_ids=tuple(frame_ids),
    )


def _with_retried(
    rebuilt: dict[int, FramePlan], plans: Sequence[FramePlan | None]
) -> dict[int, FramePlan]:
    """Add the frames that only a retry names to a rebuilt shard of their kind.

    A shard that was made again after a repair leaves them out; a plan of theirs must name them, or
    they would be read as new.
    """
    everything = [*(plan for plan in plans if plan is not None), *rebuilt.values()]
    first = {frame_id for plan in everything if not plan.retry for frame_id in plan.frame_ids}
    for retried in (s for plan in everything if plan.retry for s in plan.shards):
        missing = tuple(i for i in retried.frame_ids if i not in first)
        for number, plan in rebuilt.items() if missing else ():
            same = [s for s in plan.shards if _kind(s) == _kind(retried)]
            if not plan.retry and same:
                whole = same[0].model_copy(update={"frame_ids": same[0].frame_ids + missing})
                shards = tuple(whole if s is same[0] else s for s in plan.shards)
                rebuilt[number] = plan.model_copy(update={"shards": shards})
                break
    return rebuilt


def _kind(planned: PlannedShard) -> tuple[str, str]:
    return planned.split, planned.condition
