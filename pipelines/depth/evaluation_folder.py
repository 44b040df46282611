"""Evaluation folder: scores, tables and error maps of one model on one dataset."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import write_whole
from nightrain.datasets.io.images import resize_image
from nightrain.depthmodel.evaluation.baselines import MedianDepth
from nightrain.depthmodel.evaluation.error_maps import (
    error_panels,
    error_sheet,
    representative_frames,
)
from nightrain.depthmodel.evaluation.evaluate import (
    FramePredictor,
    NoPrediction,
    Predictor,
    evaluate,
    predict_maps,
)
from nightrain.depthmodel.evaluation.frames import EvaluationFrames
from nightrain.depthmodel.evaluation.predictions import PredictionFolder, PredictionForm
from nightrain.depthmodel.evaluation.results import Evaluation, write_evaluation
from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH, EvaluationSettings, Scaling
from nightrain.depthmodel.evaluation.tables import comparison_table, condition_table

TABLES_FILE, TABLES_JSON_FILE, ERROR_MAPS_FILE = "tables.md", "tables.json", "error-maps.png"

Progress = Callable[[int, int], None]


def evaluate_into(
    folder: Path,
    model: str,
    dataset: Path,
    settings: EvaluationSettings,
    *,
    device: str = "cpu",
    batch_size: int = 4,
    num_pictured: int = 2,
    progress: Progress | None = None,
    predictions: PredictionForm | None = None,
) -> Evaluation:
    """Evaluate a model and write scores, tables and error maps to a folder.

    `model` is a model folder or "median-depth", or with `predictions` a folder of predicted depth;
    `num_pictured` frames of each condition get error
    maps, 0 writes no sheet. Raises NightrainError.
    """
    predict: Predictor | FramePredictor
    if predictions is not None:
        predict = PredictionFolder(Path(model), dataset, predictions)
        digest = predict.digest
    else:
        predict, digest = load_predictor(model, dataset, settings, device, progress)
    evaluation = evaluate(
        predict,
        dataset,
        settings,
        model=Path(model).name,
        model_digest=digest,
        batch_size=batch_size,
        progress=progress,
    )
    write_evaluation(folder, evaluation)
    write_tables(folder, evaluation)
    if num_pictured:
        write_error_maps(folder / ERROR_MAPS_FILE, predict, dataset, evaluation, num_pictured)
    return evaluation


def load_predictor(
    model: str,
    dataset: Path,
    settings: EvaluationSettings,
    device: str = "cpu",
    progress: Progress | None = None,
) -> tuple[Predictor, str]:
    """Load a model and its digest; the median-depth baseline has none (""); raises InvalidRequest.

    A network predicts depth at its own input size, which the protocol then upsamples.
    """
    if model == MEDIAN_DEPTH:
        truth, cameras = settings.truth, settings.cameras
        return MedianDepth.fit(dataset, truth=truth, cameras=cameras, progress=progress), ""
    folder = Path(model)
    if not folder.is_dir():
        raise InvalidRequest(
            f"There is no folder {folder}. Name the folder of a trained model, or {MEDIAN_DEPTH!r} "
            "for the constant median-depth baseline."
        )
    from nightrain.depthmodel.network.model import DepthModel
    from nightrain.depthmodel.network.predict import predict as predict_depth

    network = DepthModel.from_pretrained(folder, device)
    size = network.config.input_size

    def predict(images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Depth at the network's input size."""
        return predict_depth(network, [resize_image(image, size) for image in images])

    return predict, network.digest


def write_tables(folder: Path, evaluation: Evaluation) -> None:
    """Write the tables of an evaluation under every cap and scaling, as Markdown and as JSON."""
    kinds: list[tuple[float, Scaling]] = [
        (c, v) for c in evaluation.settings.caps_m for v in evaluation.settings.scalings
    ]
    pages = [condition_table(evaluation, cap_m=cap_m, scaling=scaling) for cap_m, scaling in kinds]
    write_whole(folder / TABLES_FILE, "\n\n".join(pages) + "\n")
    tables = [
        comparison_table({evaluation.model: [evaluation]}, cap_m=cap_m, scaling=scaling)
        for cap_m, scaling in kinds
    ]
    texts = ",\n".join(table.model_dump_json(indent=1) for table in tables)
    write_whole(folder / TABLES_JSON_FILE, f"[\n{texts}\n]\n")


def write_error_maps(
    path: Path,
    predict: Predictor | FramePredictor,
    dataset: Path,
    evaluation: Evaluation,
    num_per_condition: int,
) -> None:
    """Write a sheet of error maps: frames of each condition from the median error to the worst."""
    settings = evaluation.settings.model_copy(update={"scalings": ("metric",)})
    frames = EvaluationFrames(
        dataset, split=settings.split, truth=settings.truth, cameras=settings.cameras
    )
    position = {frame_id: index for index, frame_id in enumerate(frames.frame_ids)}
    lines = []
    for frame_id in representative_frames(evaluation, num_per_condition):
        frame = frames[position[frame_id]]
        (maps,) = predict_maps(predict, [frame], settings)
        if isinstance(maps, NoPrediction):
            continue
        depth_m = maps[False]
        lines.append(
            error_panels(
                frame,
                depth_m,
                min_depth_m=settings.min_depth_m,
                max_depth_m=settings.caps_m[0],
                crop=settings.scored_crop((frame.image.shape[1], frame.image.shape[0])),
            )
        )
    write_whole(path, Image.fromarray(error_sheet(lines)).save)
