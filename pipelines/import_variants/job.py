"""Import job: writes the listing and the recipe from which generation makes the variants."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, PositiveInt, ValidationError

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import replace_file, require_writable
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.recipe_records import recipe_records
from nightrain.datasets.validation import Settings, problems
from nightrain.pipelines.engines.imported.settings import ImportSettings
from nightrain.pipelines.generate.job import GenerateJob
from nightrain.pipelines.import_variants.found import Found, find_pictures
from nightrain.pipelines.import_variants.match import Matched, match_frames
from nightrain.pipelines.recipes.recipe import Recipe, SeverityRange
from nightrain.pipelines.recipes.recipe_file import built_in_recipes, read_recipe, renamed
from nightrain.pipelines.recipes.recipe_text import resolved_yaml
from nightrain.pipelines.runs.one_run import IfRunning
from nightrain.pipelines.runs.quarantine import (
    MAX_QUARANTINED,
    MAX_REJECTED,
    MaxQuarantined,
    MaxRejected,
)
from nightrain.pipelines.runs.selection import frames_entries, select_frames

FOLDER = "imports"  # of listings and recipes, below the dataset
UNKNOWN_SEVERITY = 0.5  # at which gates judge pictures of unknown severity
MOST_SHOWN = 3
SHARED = (  # options that generation has, too
    *("num_workers", "retry_failed", "include_evaluation_scenes"),
    *("max_quarantined", "max_rejected", "if_running"),
)


class ImportVariantsJob(Settings):
    """Options of `nightrain import-variants`."""

    dataset: Path = Field(
        description="Dataset folder with committed frames",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    folder: Path = Field(
        description="Folder of the pictures, named like their frames; or a Hugging Face dataset",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    condition: Condition = Field(description="Condition that the pictures show")
    name: str = Field(description="Name for readers: small letters, digits and hyphens")
    recipe: str | None = Field(
        default=None, description="Recipe with the gates that judge the pictures (default: none)"
    )
    severity: float | None = Field(
        default=None, ge=0, le=1, description="Severity of all pictures (default: unknown)"
    )
    size: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None, description="Size of the variants (default: that of the frames)"
    )
    resize: bool = Field(default=False, description="Resize pictures of another size")
    num_workers: int = Field(default=1, ge=1, description="Number of shards made in parallel")
    retry_failed: bool = Field(default=False, description="Read quarantined pictures again")
    include_evaluation_scenes: bool = Field(
        default=False, description="Also use val and test scenes; never train on these variants"
    )
    max_quarantined: MaxQuarantined = MAX_QUARANTINED
    max_rejected: MaxRejected = MAX_REJECTED
    if_running: IfRunning = "share"


@dataclass(frozen=True, slots=True)
class PreparedImport:
    """Generation job of an import, and what to say about the folder before it runs."""

    job: GenerateJob
    notes: list[str]


def prepare_import(job: ImportVariantsJob) -> PreparedImport:
    """Match the pictures with the frames, and write listing and recipe below DATASET/imports.

    Raises InvalidRequest, also if no picture is of any frame.
    """
    manifest = Manifest(job.dataset)
    _check(job, manifest)
    every = frames_entries(manifest)
    selected = select_frames(
        manifest,
        (Condition.CLEAR,),
        product="variants",
        include_evaluation_scenes=job.include_evaluation_scenes,
    ).kept
    found = find_pictures(job.folder)
    matched = match_frames(manifest, job.folder, found, selected, every)
    notes = [*_left_out(found), *_notes(matched, len(found.pictures))]
    if not matched.listing.pictures:
        raise InvalidRequest(
            f"No picture in {job.folder} is of a frame of {job.dataset}: {'; '.join(notes)}. Name "
            "the pictures by frame_id or by the source's file names, such as "
            f"{_examples(manifest)}."
        )
    path = _write(job, manifest, matched)
    return PreparedImport(
        job=GenerateJob(
            dataset=job.dataset,
            recipe=str(path),
            **{name: getattr(job, name) for name in SHARED},
        ),
        notes=notes,
    )


def _check(job: ImportVariantsJob, manifest: Manifest) -> None:
    """Raise InvalidRequest for a name that other variants have, and for a wrong folder."""
    require_writable(job.dataset)
    if not job.folder.is_dir():
        raise InvalidRequest(f"{job.folder} is a file; expected a folder. Unpack it first.")
    records = recipe_records(manifest.root).get(job.name, [])
    recorded = records[-1].settings.items() if records else ()
    others = [
        table
        for table, text in recorded
        if table.rpartition("/")[2] != job.condition or '"name": "import"' not in text
    ]
    if others or job.name in built_in_recipes():
        what = others[0] if others else "a built-in recipe"
        raise InvalidRequest(
            f"The name {job.name!r} is that of {what}. Use another, such as "
            f"{job.name}-{job.condition}."
        )


def _recipe(job: ImportVariantsJob, listing: str, digest: str) -> Recipe:
    """Recipe of the import, with the gates of another one."""
    judged = {}
    if job.recipe is not None:
        given = read_recipe(job.recipe)
        if not given.gates:
            raise InvalidRequest(
                f"The recipe {job.recipe!r} has no gates; expected one with `gates`. Leave "
                "--recipe out to import without gates."
            )
        judged = {"gates": given.gates, "gates_inverted": given.gates_inverted}
    severity = UNKNOWN_SEVERITY if job.severity is None else job.severity
    graded = job.severity is not None
    engine = ImportSettings(listing=listing, digest=digest, resize=job.resize, graded=graded)
    try:
        recipe = Recipe(
            name="imported",
            engine=engine,
            conditions={job.condition: SeverityRange(lowest=severity, highest=severity)},
            size=job.size,
            gate_seeds=1,  # another seed gives the same picture
            **judged,
        )
    except ValidationError as error:
        raise InvalidRequest(f"{'; '.join(problems(Recipe, error))}.") from error
    return renamed(recipe, job.name)


def _write(job: ImportVariantsJob, manifest: Manifest, matched: Matched) -> Path:
    """Write the listing and the recipe; return the recipe's path."""
    digest = matched.listing.digest
    listing = f"{FOLDER}/{job.name}-{digest[:8]}.json"
    recipe = _recipe(job, listing, digest)
    text = resolved_yaml(recipe, lambda _: "severity unknown" if job.severity is None else "given")
    root = manifest.root
    replace_file(root, root / listing, matched.listing.model_dump_json(indent=1).encode())
    path = root / FOLDER / f"{job.name}.yaml"
    head = f"# Written by `nightrain import-variants` from {json.dumps(str(job.folder))}.\n"
    replace_file(root, path, (head + text).encode())
    return path


def _left_out(found: Found) -> list[str]:
    """Sentences about files that are not imported, by reason."""
    places: dict[str, list[str]] = {}
    for place, why in found.left_out.items():
        places.setdefault(why, []).append(place)
    return [f"left out {len(of)} files, {why}: {_some(of)}" for why, of in places.items()]


def _notes(matched: Matched, num_pictures: int) -> list[str]:
    """Sentences about pictures and frames that do not fit."""
    said = [
        f"{len(matched.listing.pictures)} of {num_pictures} pictures are of one of "
        f"{matched.num_frames} clear frames"
    ]
    if matched.unmatched:
        said.append(
            f"{len(matched.unmatched)} pictures are of no frame: {_some(matched.unmatched)}"
        )
    if matched.elsewhere:
        said.append(
            f"{matched.elsewhere} pictures are of frames that no variants are made from: of val "
            "and test scenes, or not clear"
        )
    for place, frames in list(matched.unclear.items())[:MOST_SHOWN]:
        said.append(
            f"{place} fits {len(frames)} frames, {_some(frames)}: keep the source's folders, or "
            "name it by frame_id"
        )
    if len(matched.unclear) > MOST_SHOWN:
        said.append(f"{len(matched.unclear)} pictures fit several frames in all")
    for problem in list(matched.listing.problems.values())[:MOST_SHOWN]:
        said.append(problem)
    if matched.num_without:
        said.append(
            f"{matched.num_without} of {matched.num_frames} frames have no picture or several; "
            "they go to quarantine"
        )
    return said


def _examples(manifest: Manifest) -> str:
    entry = frames_entries(manifest)[0]
    row = manifest.reader(entry.rows).scan(["frame_id", "source_id"]).slice(0, 1).to_pylist()[0]
    return f"{row['frame_id']}.png or {row['source_id']}.png"


def _some(names: list[str]) -> str:
    return ", ".join(names[:MOST_SHOWN]) + (", ..." if len(names) > MOST_SHOWN else "")
