"""Plan of a usefulness study: its runs, checked before anything is trained.

OUT/study.json                  settings that all arms share; a folder holds one study
OUT/<arm>/arm.json              the arm and the number of its training images
OUT/<arm>/seed-<k>/             a run folder as `nightrain train` writes it, and its evaluation
OUT/teacher/, OUT/median-depth/ evaluations of the baselines
OUT/usefulness.md, .json        the results so far
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.io.atomic import write_whole
from nightrain.datasets.io.record import record_bytes
from nightrain.datasets.io.regular import matching
from nightrain.datasets.loader.index import build_index, read_keys
from nightrain.datasets.protocols.leakage import scenes_of
from nightrain.datasets.shards.manifest import FRAMES, LABELS, Manifest
from nightrain.datasets.shards.recipe_records import condition_of, select_tables
from nightrain.datasets.splits import NO_SPLIT, is_in_split
from nightrain.datasets.validation import in_one_line
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.run_folder import (
    RunFolder,
    differences,
    read_stored,
    table_digests,
)
from nightrain.pipelines.depth.train_job import only_labels, variant_folders
from nightrain.pipelines.usefulness.arms import ARMS, Arm, select_arms, student_config
from nightrain.pipelines.usefulness.job import UsefulnessJob

STUDY_FILE, ARM_FILE = "study.json", "arm.json"
# Exact depth, because LiDAR returns from drops and fog count as near points.
SETTINGS = EvaluationSettings(truth="exact", scalings=("metric", "median"))


class Study(BaseModel):
    """Settings that all arms share, so that their scores can be compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset: str
    frames: str  # digest of the table of frames
    teacher: str  # digest of its weights
    labels: str
    variants: tuple[str, ...]  # folders below variants/
    num_steps: int
    batch_size: int
    input_size: tuple[int, int]
    settings: EvaluationSettings


class ArmFacts(BaseModel):
    """An arm and the size of its training data."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    arm: Arm
    num_steps: int
    synthetic_share: float  # of the samples, expected
    num_images: int  # train frames
    num_scenes: int
    num_drives: int


class Run(BaseModel):
    """Run of one arm and seed; picklable."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    arm: str
    config: TrainConfig
    dataset: Path
    folder: Path
    settings: EvaluationSettings
    command: str
    device: str | None

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.config.seed


@dataclass(frozen=True)
class Plan:
    """A study with its checked runs."""

    job: UsefulnessJob
    study: Study
    runs: tuple[Run, ...]  # all arms of one seed before the next seed


def plan_study(job: UsefulnessJob) -> Plan:
    """Check everything that a study needs, and write its settings to the study folder.

    Raises InvalidRequest for missing labels, variants or frames, labels of another teacher, and a
    folder that holds another study; CorruptShard.
    """
    if not job.teacher.is_dir():
        raise InvalidRequest(
            f"There is no folder {job.teacher}. Name the folder of the teacher's model."
        )
    teacher = DepthModel.from_pretrained(job.teacher)
    manifest = Manifest(job.dataset)
    labels = job.labels or only_labels(job.dataset)
    _require_labels_of(manifest, labels, teacher.digest)
    variants = variant_folders(job.dataset, job.variants)
    num_conditions = len({condition_of(t) for t in select_tables(manifest, job.variants)})
    arms = select_arms(job.arms, job.dose, job.other_variants)
    runs, all_facts = [], []
    for arm in arms:
        shown = tuple(
            folder
            for recipe in arm.recipes
            for folder in (variant_folders(job.dataset, recipe) if recipe else variants)
        )
        for seed in job.seeds:
            config = student_config(
                arm,
                seed=seed,
                teacher=job.teacher.resolve(),
                network=teacher.config,
                labels=labels,
                recipes=shown,
                num_conditions=num_conditions,
                num_steps=job.steps,
                batch_size=job.batch_size,
            )
            runs.append(_run(job, arm, config))
        all_facts.append(_facts(manifest, arm, runs[-1].config))
    config, factor = runs[0].config, arms[0].num_steps_factor
    study = Study(
        dataset=job.dataset.resolve().name,
        frames=table_digests(job.dataset, config)[FRAMES],
        teacher=teacher.digest,
        labels=labels,
        variants=variants,
        num_steps=round(config.num_steps / factor),
        batch_size=config.batch_size,
        input_size=config.data.input_size,
        settings=SETTINGS,
    )
    _write_settings(job.out / STUDY_FILE, "study", study)
    for facts in all_facts:
        _write_settings(job.out / facts.arm.name / ARM_FILE, "arm", facts)
    for run in runs:
        RunFolder(run.folder, run.config, run.dataset)  # raises for a run with other settings
    seed_of = {seed: place for place, seed in enumerate(job.seeds)}
    return Plan(job, study, tuple(sorted(runs, key=lambda run: seed_of[run.seed])))


def stored_arms(out: Path) -> tuple[ArmFacts, ...]:
    """All arms of a study folder, also of earlier jobs: in the order of ARMS, then by name.

    Raises NightrainError for an unreadable file.
    """
    place = {name: number for number, name in enumerate(ARMS)}
    found = []
    for path in (folder / ARM_FILE for folder in matching(out, "*")):
        if not path.exists():
            continue
        try:
            found.append(ArmFacts.model_validate(read_stored(path, "arm")))
        except ValidationError as error:
            raise NightrainError(
                f"{path} cannot be read: {in_one_line(error)}. Remove it."
            ) from error
    return tuple(sorted(found, key=lambda f: (place.get(f.arm.name, len(place)), f.arm.name)))


def _run(job: UsefulnessJob, arm: Arm, config: TrainConfig) -> Run:
    return Run(
        arm=arm.name,
        config=config,
        dataset=job.dataset,
        folder=job.out / arm.name / f"seed-{config.seed}",
        settings=SETTINGS,
        command=job.command,
        device=None if job.device == "auto" else job.device,
    )


def _facts(manifest: Manifest, arm: Arm, config: TrainConfig) -> ArmFacts:
    """Count the training data of an arm; raises InvalidRequest, which names the arm."""
    try:
        index = build_index(manifest.root, config.data)
    except InvalidRequest as error:
        raise InvalidRequest(f"The arm {arm.name!r} cannot be trained: {error}") from error
    shown = config.data.corruptions.conditions if config.data.corruptions else index.conditions
    scenes = [
        scene
        for entry in manifest.entries(FRAMES)
        if is_in_split(entry.about.get("split", NO_SPLIT), config.data.split)
        and Condition(entry.about["condition"]) in config.data.conditions
        for scene in scenes_of(manifest, entry)
    ]
    return ArmFacts(
        arm=arm,
        num_steps=config.num_steps,
        synthetic_share=1.0 - config.data.probability_of_clear(len(shown)) if shown else 0.0,
        num_images=len(index.frames),
        num_scenes=len({scene.scene_id for scene in scenes}),
        num_drives=len({scene.drive for scene in scenes}),
    )


def _require_labels_of(manifest: Manifest, labels: str, teacher_digest: str) -> None:
    """Raise InvalidRequest unless all labels were made by the students' teacher."""
    entries = manifest.entries(f"{LABELS}/{labels}")
    if not entries:
        there = ", ".join(manifest.tables(f"{LABELS}/")) or "none"
        raise InvalidRequest(
            f"{manifest.root} has no labels {labels!r}; there are: {there}. Create labels with "
            "`nightrain label DATASET --teacher FOLDER`."
        )
    rows = read_keys(manifest.root, entries, ["frame_id", "teacher_sha256"])
    if others := sorted({*rows.columns["teacher_sha256"].tolist()} - {teacher_digest}):
        raise InvalidRequest(
            f"{LABELS}/{labels} were made by a teacher with digest {others[0]}; the given teacher "
            f"has {teacher_digest}. Name the teacher that made them, or label again with this one."
        )


def _write_settings(path: Path, kind: str, value: BaseModel) -> None:
    """Write the settings of a folder once; raises InvalidRequest where it has other settings."""
    settings = value.model_dump(mode="json")
    if not path.exists():
        write_whole(path, record_bytes(kind, settings))
    elif different := list(differences(read_stored(path, kind), settings)):
        raise InvalidRequest(
            f"{path.parent} has other settings: {'; '.join(different)}. Name another folder, or "
            "remove this one to start again."
        )
