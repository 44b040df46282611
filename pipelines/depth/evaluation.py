"""Evaluation of a checkpoint on a dataset: scores, tables and pictures in a folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import resize_image
from nightrain.depthmodel.evaluation.baselines import MedianDepth
from nightrain.depthmodel.evaluation.error_maps import error_panels, error_sheet, telling_frames
from nightrain.depthmodel.evaluation.evaluate import Predictor, evaluate, predict_maps
from nightrain.depthmodel.evaluation.frames import EvaluationFrames
from nightrain.depthmodel.evaluation.results import Evaluation, write_evaluation
from nightrain.depthmodel.evaluation.settings import BUCKETS, EvaluationSettings, Variant
from nightrain.depthmodel.evaluation.tables import comparison_table, condition_table
from nightrain.pipelines.runs.stop import Stop, WorkCancelled, unless_stopped

MEDIAN_DEPTH = "median-depth"
TABLES_FILE, TABLES_JSON_FILE, PICTURE_FILE = "tables.md", "tables.json", "error-maps.png"

Progress = Callable[[int, int], None]


class EvaluationJob(BaseModel):
    """What to evaluate on what, and where to write it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str  # folder of a checkpoint, or "median-depth": the train set's median picture
    dataset: Path
    out: Path
    settings: EvaluationSettings = EvaluationSettings()
    device: str = "cpu"
    batch_size: int = 4
    frames_pictured: int = 2  # of each condition; 0: no picture
    keep_images: bool = True


class EvaluationReport(BaseModel):
    """How an evaluation ended; small, so that a flow may store it. All of it is in the folder."""

    model: str
    out: str
    stopped: bool = False
    num_images: int = 0
    abs_rel: dict[str, float] = {}  # by condition, under the main cap and in the first variant

    @property
    def line(self) -> str:
        """What was found, in one line."""
        if self.stopped:
            return f"{self.model}: stopped; nothing was written"
        errors = ", ".join(f"{name} {value:.3f}" for name, value in self.abs_rel.items())
        return f"{self.model} on {self.num_images} images: abs_rel {errors}"


def load_predictor(job: EvaluationJob, progress: Progress | None = None) -> tuple[Predictor, str]:
    """The model of a job and its digest, "" for the median picture; raises InvalidRequest."""
    if job.model == MEDIAN_DEPTH:
        settings = job.settings
        fitted = MedianDepth.fit(
            job.dataset, truth=settings.truth, cameras=settings.cameras, progress=progress
        )
        return fitted, ""
    folder = Path(job.model)
    if not folder.is_dir():
        raise InvalidRequest(
            f"there is no folder {folder}. Name the folder of a trained model, or {MEDIAN_DEPTH!r} "
            "for the train set's median picture."
        )
    from nightrain.depthmodel.network.model import DepthModel

    network = DepthModel.from_pretrained(folder, job.device)
    size = network.config.input_size

    def predict(images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Depth at the network's size, so that it is upsampled as the protocol says."""
        return network.predict([resize_image(image, size) for image in images])

    return predict, network.digest


def run_evaluation(job: EvaluationJob, progress: Progress | None = None) -> Evaluation:
    """Evaluate a model; write scores, tables and pictures to a folder; raises NightrainError."""
    predict, digest = load_predictor(job, progress)
    evaluation = evaluate(
        predict,
        job.dataset,
        job.settings,
        model=Path(job.model).name,
        model_digest=digest,
        batch_size=job.batch_size,
        progress=progress,
    )
    write_evaluation(job.out, evaluation, keep_images=job.keep_images)
    write_tables(job.out, evaluation)
    if job.frames_pictured:
        write_pictures(job.out / PICTURE_FILE, predict, job, evaluation)
    return evaluation


def evaluate_model(
    job: EvaluationJob, *, stop: Stop, on_step: Progress = lambda _done, _total: None
) -> EvaluationReport:
    """The same as a job that can be asked to stop; then nothing is written.

    Raises NightrainError.
    """
    try:
        evaluation = run_evaluation(job, unless_stopped(stop, on_step))
    except WorkCancelled:
        return EvaluationReport(model=job.model, out=str(job.out), stopped=True)
    scores = [evaluation.score(bucket.name) for bucket in BUCKETS]
    return EvaluationReport(
        model=job.model,
        out=str(job.out),
        num_images=evaluation.score("all").num_images,
        abs_rel={s.bucket: s.metrics["abs_rel"].mean for s in scores if s.metrics is not None},
    )


def write_tables(folder: Path, evaluation: Evaluation) -> None:
    """Write the tables of an evaluation under every cap and variant, as Markdown and as JSON."""
    kinds: list[tuple[float, Variant]] = [
        (c, v) for c in evaluation.settings.caps_m for v in evaluation.settings.variants
    ]
    pages = [condition_table(evaluation, cap_m=cap_m, variant=variant) for cap_m, variant in kinds]
    (folder / TABLES_FILE).write_text("\n\n".join(pages) + "\n")
    tables = [
        comparison_table({evaluation.model: [evaluation]}, cap_m=cap_m, variant=variant)
        for cap_m, variant in kinds
    ]
    texts = ",\n".join(table.model_dump_json(indent=1) for table in tables)
    (folder / TABLES_JSON_FILE).write_text(f"[\n{texts}\n]\n")


def write_pictures(
    path: Path, predict: Predictor, job: EvaluationJob, evaluation: Evaluation
) -> None:
    """Write error maps of the median and the worst frames of each condition as one sheet."""
    settings = job.settings.model_copy(update={"variants": ("",)})
    frames = EvaluationFrames(
        job.dataset, split=settings.split, truth=settings.truth, cameras=settings.cameras
    )
    place = {frame_id: index for index, frame_id in enumerate(frames.frame_ids)}
    lines = []
    for frame_id in telling_frames(evaluation, job.frames_pictured):
        frame = frames[place[frame_id]]
        maps = predict_maps(predict, [frame], settings)[0]
        lines.append(
            error_panels(
                frame,
                maps[False],
                min_depth_m=settings.min_depth_m,
                max_depth_m=settings.caps_m[0],
                crop=settings.scored_crop((frame.image.shape[1], frame.image.shape[0])),
            )
        )
    Image.fromarray(error_sheet(lines)).save(path)
