"""Evaluation jobs: the options of `nightrain evaluate`, and the settings that they describe."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from nightrain.datasets.splits import Split
from nightrain.datasets.validation import Settings
from nightrain.depthmodel.evaluation.settings import (
    BUCKETS,
    MEDIAN_DEPTH,
    PROTOCOLS,
    EvaluationSettings,
)

if TYPE_CHECKING:
    from nightrain.pipelines.runs.stop import Stop


class EvaluationJob(Settings):
    """Options of `nightrain evaluate`, and parameters of the flow `evaluate-depth`.

    The module imports neither torch nor numpy, so that a command's help can be built from it.
    """

    model: str = Field(
        description=f"Model folder; or {MEDIAN_DEPTH}: the train set's median depth at each pixel, "
        "a baseline that every model must beat; or with --predictions a folder of depth maps",
        json_schema_extra={"cli": "argument"},
    )
    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    protocol: str = Field(
        default="own",
        description="Protocol; the options below override it",
        examples=list(PROTOCOLS),
    )
    split: Split | None = Field(
        default=None,
        description="Split to score: train, val, test, none (in no list) or all (default: the "
        "protocol's; with the protocol own, none if the dataset's frames are in no list)",
    )
    truth: Literal["lidar", "exact", "md4all"] | None = Field(
        default=None,
        description="Ground truth: lidar, exact in rendered worlds, or md4all: LiDAR on md4all's "
        "pixels, of a dataset ingested with --projection md4all (default: the protocol's)",
    )
    cap: tuple[float, ...] = Field(
        default=(),
        description="Largest ground-truth depth that is scored, in metres; repeatable "
        "(default: the protocol's)",
    )
    out: Path | None = Field(
        default=None,
        description="Folder for scores, tables and error maps (default: evaluation-MODEL)",
    )
    predictions: Literal["none", "depth", "inverse"] = Field(
        default="none",
        description="Score a folder of another network's predictions: .npy or 16-bit .png, named "
        "by frame_id or source_id, with depth in metres, or with inverse depth, which affine "
        "scaling aligns",
    )
    png_scale: float = Field(
        default=256.0, gt=0, description="Levels of predicted .png files per metre, or per unit"
    )
    device: str = Field(default="cpu", description="Device of the network: cpu, cuda, cuda:1, ...")
    batch_size: int = Field(default=4, ge=1, description="Images per batch")
    pictures: int = Field(
        default=2, ge=0, description="Frames per condition on the sheet of error maps"
    )

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "scores of student on nuscenes"."""
        return f"scores of {Path(self.model).name} on {self.dataset.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: the model and the protocol."""
        return (Path(self.model).name, self.protocol)

    @property
    def folder(self) -> Path:
        """Folder that the evaluation is written to."""
        return self.out or Path(f"evaluation-{Path(self.model).name}")

    @field_validator("protocol")
    @classmethod
    def _known(cls, protocol: str) -> str:
        if protocol not in PROTOCOLS:
            known = ", ".join(PROTOCOLS)
            raise ValueError(f"there is no protocol {protocol!r}; choose one of {known}")
        return protocol

    @model_validator(mode="after")
    def _consistent(self) -> "EvaluationJob":
        try:
            self.settings()
        except ValidationError as error:
            problem = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"the options do not fit together: {problem}") from error
        return self

    def settings(self) -> EvaluationSettings:
        """The settings of the protocol, changed by the options that are given."""
        settings = PROTOCOLS[self.protocol]()
        options = {"split": self.split, "truth": self.truth, "caps_m": self.cap or None}
        scalings = self._scalings(settings.scalings)
        options["scalings"] = None if scalings == settings.scalings else scalings
        given = {name: value for name, value in options.items() if value is not None}
        if given and self.protocol != "own":
            given["protocol"] = f"{self.protocol} with other {', '.join(sorted(given))}"
        return EvaluationSettings.model_validate({**settings.model_dump(), **given})

    def _scalings(self, usual: tuple[str, ...]) -> tuple[str, ...]:
        """Scalings that the predictions allow: of mirrored images there are none."""
        if self.predictions == "inverse":
            return ("affine",)
        if self.predictions == "depth":
            return tuple(dict.fromkeys(scaling.removesuffix("-flip") for scaling in usual))
        return usual


class EvaluationReport(BaseModel):
    """Result of an evaluation in a few numbers, which a flow can store."""

    model: str
    out: str
    stopped: bool = False
    num_images: int = 0
    abs_rel: dict[str, float] = {}  # by condition, under the main cap and in the first scaling

    @property
    def line(self) -> str:
        """Summary in one line."""
        if self.stopped:
            return f"{self.model}: stopped; nothing was written"
        errors = ", ".join(f"{name} {value:.3f}" for name, value in self.abs_rel.items())
        return f"{self.model} on {self.num_images} images: abs_rel {errors}"


def _settings_for_dataset(job: EvaluationJob) -> EvaluationSettings:
    """Settings with the split of the dataset; a published protocol keeps its own split."""
    settings = job.settings()
    if settings.truth == "md4all":
        _require_md4all_projection(job.dataset)
    if job.split is not None or job.protocol != "own":
        return settings
    from nightrain.datasets.loader.index import default_split_of
    from nightrain.datasets.shards.manifest import Manifest

    split = default_split_of(Manifest(job.dataset), settings.split)
    return settings.model_copy(update={"split": split})


def _require_md4all_projection(dataset: Path) -> None:
    """Raise InvalidRequest unless all frames of a dataset have their LiDAR on md4all's pixels."""
    from nightrain.datasets.errors import InvalidRequest
    from nightrain.datasets.shards.frame_plan import read_plans

    found = {(plan.options or {}).get("projection", "nearest") for plan in read_plans(dataset)}
    if found != {"md4all"}:
        raise InvalidRequest(
            f"{dataset} holds LiDAR depth with projection {' and '.join(sorted(found)) or 'none'}; "
            "--truth md4all needs md4all. Ingest the frames into another folder with "
            "`nightrain ingest nuscenes ... --projection md4all`."
        )


def evaluate_model(
    job: EvaluationJob,
    *,
    stop: "Stop",
    on_step: Callable[[int, int], None] = lambda _done, _total: None,
) -> EvaluationReport:
    """Evaluate the job's model; an evaluation that is stopped writes nothing.

    Raises NightrainError.
    """
    from nightrain.pipelines.depth.evaluation_folder import evaluate_into
    from nightrain.pipelines.runs.stop import WorkCancelled, unless_stopped

    out, form = str(job.folder), None
    if job.predictions != "none":
        from nightrain.depthmodel.evaluation.predictions import PredictionForm

        form = PredictionForm(job.predictions == "inverse", job.png_scale)
    try:
        evaluation = evaluate_into(
            job.folder,
            job.model,
            job.dataset,
            _settings_for_dataset(job),
            device=job.device,
            batch_size=job.batch_size,
            num_pictured=job.pictures,
            progress=unless_stopped(stop, on_step),
            predictions=form,
        )
    except WorkCancelled:
        return EvaluationReport(model=job.model, out=out, stopped=True)
    scores = [evaluation.score(bucket.name) for bucket in BUCKETS]
    return EvaluationReport(
        model=job.model,
        out=out,
        num_images=evaluation.score("all").num_images,
        abs_rel={s.bucket: s.metrics["abs_rel"].mean for s in scores if s.metrics is not None},
    )
