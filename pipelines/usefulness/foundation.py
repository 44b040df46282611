"""Zero-shot scores of a depth foundation model, aligned to the truth of each image.

Such models predict inverse depth up to an unknown scale and shift. Both are fitted to the true
inverse depth of each image by least squares (Ranftl et al., TPAMI 2022, section 5.1), so their
scores know more than those of metric networks, and the row of the table says so.
"""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.evaluation.evaluate import Predictor, image_score, resize_depth
from nightrain.depthmodel.evaluation.frames import EvaluationFrames, TruthFrame
from nightrain.depthmodel.evaluation.metrics import (
    aligned_depth,
    score_image,
    scored_pixels,
)
from nightrain.depthmodel.evaluation.results import (
    Evaluation,
    ImageScore,
    summarise,
    write_evaluation,
)
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from nightrain.depthmodel.transformers_depth import foundation_weights, load_foundation
from nightrain.pipelines.usefulness.scoring import stored_evaluation


def foundation_evaluation(
    folder: Path, dataset: Path, out: Path, settings: EvaluationSettings
) -> Evaluation:
    """Return the stored evaluation of a foundation model, or evaluate it; raises InvalidRequest."""
    digest = foundation_weights(folder).name
    kept = stored_evaluation(out, settings, digest)
    if kept is not None:
        return kept
    predict, name = load_foundation(folder), folder.resolve().name
    try:
        evaluation = _evaluate(predict, name, digest, dataset, settings)
    except (RuntimeError, ValueError) as error:
        raise InvalidRequest(
            f"{folder} cannot predict the depth of this dataset's images: "
            f"{str(error).splitlines()[0]}. Does its preprocessor_config.json belong to it?"
        ) from error
    write_evaluation(out, evaluation)
    return evaluation


def _evaluate(
    predict: Predictor, model: str, digest: str, dataset: Path, settings: EvaluationSettings
) -> Evaluation:
    frames = EvaluationFrames(
        dataset, split=settings.split, truth=settings.truth, cameras=settings.cameras
    )
    images: list[ImageScore] = []
    seen, sources = hashlib.sha256(), Counter[str]()
    for index in range(len(frames)):
        frame = frames[index]
        sources[frame.source_dataset] += 1
        seen.update(frame.sha256.encode())
        if frame.truth_m is not None:
            images += _scores(frame, predict([frame.image])[0], settings)
    return Evaluation(
        model=f"{model} (aligned in scale and shift)",
        model_digest=digest,
        dataset=Path(dataset).resolve().name,
        frames_sha256=seen.hexdigest(),
        sources=dict(sources),
        settings=settings,
        scores=summarise(settings, images, ()),
        skipped=(),
        images=tuple(images),
    )


def _scores(
    frame: TruthFrame, inverse_depth: np.ndarray, settings: EvaluationSettings
) -> list[ImageScore]:
    assert frame.truth_m is not None
    height, width = frame.truth_m.shape
    full, found = resize_depth(inverse_depth, (height, width)), []
    for cap_m in settings.caps_m:
        scored = scored_pixels(frame.truth_m, settings.min_depth_m, cap_m)
        if not scored.any():
            continue
        depth_m = aligned_depth(full, frame.truth_m, cap_m, scored).astype(np.float32)
        metrics = score_image(
            depth_m, frame.truth_m, min_depth_m=settings.min_depth_m, max_depth_m=cap_m
        )
        assert metrics is not None
        found += [image_score(frame, cap_m, scaling, metrics) for scaling in settings.scalings]
    return found
