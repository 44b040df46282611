"""Plan of a usefulness study: its runs, checked before anything is trained.

OUT/study.json                  settings that all arms share; a folder holds one study
OUT/<arm>/arm.json              the arm and the number of its training images
OUT/<arm>/seed-<k>/             a run folder as `nightrain train` writes it, and its evaluation
OUT/<arm>/seed-<k>/val/         its evaluation on the split that selects, where test is reported
OUT/teacher/, OUT/median-depth/ evaluations of the baselines
OUT/selection.json              what was selected on val
OUT/usefulness.md, .json, .svg  the results so far; OUT/tables.md: all tables
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.index import build_index
from nightrain.datasets.protocols.leakage import scenes_of
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.recipe_records import condition_of, select_tables
from nightrain.datasets.splits import NO_SPLIT, Split, is_in_split
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.distillation_presets import world_student
from nightrain.depthmodel.training.run_folder import (
    RunFolder,
    table_digests,
)
from nightrain.depthmodel.transformers_depth import foundation_weights
from nightrain.pipelines.depth.train_job import variant_folders
from nightrain.pipelines.usefulness.arms import (
    BASELINE,
    DIFFUSION,
    MAIN,
    VARIANTS,
    Arm,
    select_arms,
)
from nightrain.pipelines.usefulness.job import UsefulnessJob
from nightrain.pipelines.usefulness.records import (
    ARM_FILE,
    STUDY_FILE,
    ArmFacts,
    Study,
    write_settings,
)
from nightrain.pipelines.usefulness.splits import StudySplits, study_splits
from nightrain.pipelines.usefulness.steps_on_val import errors_by_steps, smallest_on_plateau
from nightrain.pipelines.usefulness.student import student_config
from nightrain.pipelines.usefulness.teachers import Teacher, teachers_of

# Exact depth, because LiDAR returns from drops and fog count as near points.
SETTINGS = EvaluationSettings(truth="exact", caps_m=(80.0,), scalings=("metric",))


class Run(BaseModel):
    """Run of one arm and seed; picklable."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    arm: str
    config: TrainConfig
    dataset: Path
    folder: Path
    settings: EvaluationSettings
    selected_on: Split | None  # this run is scored on this split, too
    variants: tuple[str, ...]  # those of the study, whose spread of depth is measured
    command: str
    device: str | None

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.config.seed

    @property
    def evaluations(self) -> dict[Path, EvaluationSettings]:
        """Settings of the run's evaluations, by the folder of each."""
        found = {self.folder: self.settings}
        if self.selected_on is not None:
            selection = self.settings.model_copy(update={"split": self.selected_on})
            found[self.folder / self.selected_on] = selection
        return found


@dataclass(frozen=True)
class Plan:
    """A study with its checked runs."""

    job: UsefulnessJob
    study: Study
    runs: tuple[Run, ...]  # all arms of one seed before the next seed
    left_out: tuple[str, ...]  # why arms that the job does not name are left out


def plan_study(job: UsefulnessJob) -> Plan:
    """Check everything that a study needs, and write its settings to the study folder.

    Raises InvalidRequest for missing labels, variants or frames, labels of another teacher, splits
    that share a place, and a folder that holds another study; CorruptShard.
    """
    manifest = Manifest(job.dataset)
    splits = study_splits(manifest, job.split)
    teachers = teachers_of(job, manifest)
    for folder in job.foundation:
        foundation_weights(folder)  # raises for an incomplete folder before anything runs
    frames = table_digests(job.dataset, world_student())[FRAMES]  # of the train split
    errors = errors_by_steps(job.steps_from, frames, teachers[""].digest)
    if errors:
        job = job.model_copy(update={"steps": smallest_on_plateau(errors), "steps_from": ()})
    planner = _Planner(job, manifest, teachers, splits)
    planned, left_out = planner.arms(select_arms(job))
    first = planned[0]
    main = teachers[""]
    config = first.runs[0].config
    study = Study(
        dataset=job.dataset.resolve().name,
        frames=frames,
        teacher=main.digest,
        labels=main.labels,
        variants=planner.variants,
        num_steps=round(config.num_steps / first.facts.arm.num_steps_factor),
        batch_size=config.batch_size,
        input_size=main.network.input_size,
        settings=planner.settings,
        selected_on=splits.selected_on,
        errors_on_val=errors,
    )
    write_settings(job.out / STUDY_FILE, "study", study)
    runs = [run for one in planned for run in one.runs]
    for one in planned:
        write_settings(job.out / one.facts.arm.name / ARM_FILE, "arm", one.facts)
    for run in runs:
        RunFolder(run.folder, run.config, run.dataset)  # raises for a run with other settings
    place = {seed: number for number, seed in enumerate(job.seeds)}
    return Plan(job, study, tuple(sorted(runs, key=lambda run: place[run.seed])), left_out)


@dataclass(frozen=True)
class _PlannedArm:
    """Facts and runs of an arm."""

    facts: ArmFacts
    runs: tuple[Run, ...]


class _Planner:
    """Plans the arms of a job one by one; the rest of the study is the same for all."""

    def __init__(
        self,
        job: UsefulnessJob,
        manifest: Manifest,
        teachers: dict[str, Teacher],
        splits: StudySplits,
    ) -> None:
        self.job, self.manifest, self.teachers, self.splits = job, manifest, teachers, splits
        self.variants = variant_folders(job.dataset, job.variants)
        self.num_conditions = len({condition_of(t) for t in select_tables(manifest, job.variants)})
        self.settings = SETTINGS.model_copy(update={"split": splits.reported})
        train = [
            entry
            for entry in manifest.entries(FRAMES)
            if is_in_split(entry.about.get("split", NO_SPLIT), "train") and entry.rows.num_rows
        ]
        recorded = {Condition(entry.about["condition"]) for entry in train}
        self.recorded = tuple(c for c in Condition if c in recorded)

    def arms(self, arms: tuple[Arm, ...]) -> tuple[list[_PlannedArm], tuple[str, ...]]:
        """Plan arms; those that the job does not name and that lack data are left out.

        Raises InvalidRequest, which names the arm.
        """
        planned, left_out = [], []
        for arm in arms:
            try:
                planned.append(self._arm(arm))
            except InvalidRequest as error:
                if self.job.arms or arm.name in (BASELINE, MAIN) or not arm.needs_more:
                    raise
                left_out.append(f"{arm.name}: {error}")
        return planned, tuple(left_out)

    def _arm(self, arm: Arm) -> _PlannedArm:
        teacher, job = self.teachers[arm.backbone], self.job
        if arm.shown == "frames" and self.recorded == (Condition.CLEAR,):
            raise InvalidRequest(
                f"The arm {arm.name!r} cannot be trained: {job.dataset} has no adverse frames in "
                "split 'train'."
            )
        recipes = tuple(dict.fromkeys(f for recipe in arm.recipes for f in self._folders(recipe)))
        configs = [
            student_config(
                arm,
                seed=seed,
                teacher=teacher.folder.resolve(),
                network=teacher.network,
                labels=teacher.labels,
                recipes=recipes,
                num_conditions=self.num_conditions,
                recorded=self.recorded,
                num_steps=job.steps,
                batch_size=job.batch_size,
            )
            for seed in job.seeds
        ]
        facts = _facts(self.manifest, arm, configs[0], teacher)
        return _PlannedArm(facts, tuple(self._run(arm, config) for config in configs))

    def _folders(self, recipe: str) -> tuple[str, ...]:
        if recipe == VARIANTS:
            return self.variants
        name = self.job.diffusion if recipe == DIFFUSION else recipe
        return variant_folders(self.job.dataset, name or "")

    def _run(self, arm: Arm, config: TrainConfig) -> Run:
        job = self.job
        return Run(
            arm=arm.name,
            config=config,
            dataset=job.dataset,
            folder=job.out / arm.name / f"seed-{config.seed}",
            settings=self.settings,
            selected_on=self.splits.selected_on if arm.is_generator else None,
            variants=self.variants,
            command=job.command,
            device=None if job.device == "auto" else job.device,
        )


def _facts(manifest: Manifest, arm: Arm, config: TrainConfig, teacher: Teacher) -> ArmFacts:
    """Count the training data of an arm; raises InvalidRequest, which names the arm."""
    try:
        index = build_index(manifest.root, config.data)
    except InvalidRequest as error:
        hint = ""
        if arm.shown == "frames" and arm.target == "labels":
            names = ",".join(config.data.conditions)
            hint = f" Label all train frames with `nightrain label ... --condition {names}`."
        raise InvalidRequest(f"The arm {arm.name!r} cannot be trained: {error}{hint}") from error
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
        recipes=config.data.recipes,
        teacher=teacher.digest,
        num_steps=config.num_steps,
        synthetic_share=1.0 - config.data.probability_of_clear(len(shown)) if shown else 0.0,
        num_images=len(index.frames),
        num_scenes=len({scene.scene_id for scene in scenes}),
        num_drives=len({scene.drive for scene in scenes}),
    )
