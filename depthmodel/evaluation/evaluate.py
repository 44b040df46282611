"""Evaluation of a depth model on the frames of a split (md4all, eq. 14, docs/papers/md4all.md).

Prediction at the model's size -> average with the flipped image (scalings "-flip") -> bilinear
resize to the truth's size -> mask -> median scaling (scalings "median") or fit in scale and shift
(scalings "affine") -> clamp -> metrics per image -> mean over images.
"""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.geometry.crops import kb_crop
from nightrain.depthmodel.evaluation.frames import EvaluationFrames, TruthFrame
from nightrain.depthmodel.evaluation.metrics import DepthMetrics, score_image
from nightrain.depthmodel.evaluation.results import Evaluation, ImageScore, SkippedImage, summarise
from nightrain.depthmodel.evaluation.settings import EvaluationSettings, Scaling

# Images (h, w, 3) uint8 sRGB -> as many depth maps (h', w') float in metres, of any size.
Predictor = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
Progress = Callable[[int, int], None]  # (done, total)


class BadPrediction(NightrainError):
    """A model returned something that is not a depth map of its image."""


class NoPrediction(str):
    """Why a frame has no prediction; it is then left out and counted."""

    __slots__ = ()


class FramePredictor(ABC):
    """Predictor that is told which frames the images are; it sees no mirrored images."""

    @abstractmethod
    def __call__(
        self, images: Sequence[np.ndarray], frame_ids: Sequence[str]
    ) -> Sequence[np.ndarray | NoPrediction]:
        """Depth maps (h', w') float in metres of images (h, w, 3), or why there are none."""


def evaluate(
    predict: Predictor | FramePredictor,
    root: Path,
    settings: EvaluationSettings,
    *,
    model: str = "model",
    model_digest: str = "",
    batch_size: int = 4,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a model on the committed frames of a split of the dataset at `root`.

    Frames without valid ground truth, or without a prediction, are skipped and counted. Raises
    InvalidRequest where no frame can be scored and for scalings "-flip" of a FramePredictor,
    BadPrediction, CorruptShard, DamagedInput.
    """
    frames = EvaluationFrames(
        root, split=settings.split, truth=settings.truth, cameras=settings.cameras
    )
    images: list[ImageScore] = []
    skipped: list[SkippedImage] = []
    sources: Counter[str] = Counter()
    digest = hashlib.sha256()
    for start in range(0, len(frames), batch_size):
        batch = [frames[i] for i in range(start, min(start + batch_size, len(frames)))]
        with_truth = [frame for frame in batch if frame.truth_m is not None]
        for frame, maps in zip(
            with_truth, predict_maps(predict, with_truth, settings), strict=True
        ):
            if isinstance(maps, NoPrediction):
                skipped += [_skipped(frame, cap_m, maps) for cap_m in settings.caps_m]
                continue
            scored, unscored = _score(frame, maps, settings)
            images += scored
            skipped += unscored
        for frame in batch:
            sources[frame.source_dataset] += 1
            digest.update(frame.sha256.encode())
            if frame.truth_m is None:
                reason = f"no {settings.truth} depth"
                skipped += [_skipped(frame, cap_m, reason) for cap_m in settings.caps_m]
        if progress is not None:
            progress(start + len(batch), len(frames))
    if not images:
        raise InvalidRequest(
            f"none of the {len(frames)} frames of {settings.split} in {root} has {settings.truth} "
            f"depth and a prediction ({skipped[0].reason}, ...). Choose another truth or split."
        )
    return Evaluation(
        model=model,
        model_digest=model_digest,
        dataset=Path(root).resolve().name,
        frames_sha256=digest.hexdigest(),
        sources=dict(sources),
        settings=settings,
        scores=summarise(settings, images, skipped),
        skipped=tuple(skipped),
        images=tuple(images),
    )


def predict_maps(
    predict: Predictor | FramePredictor, frames: Sequence[TruthFrame], settings: EvaluationSettings
) -> list[dict[bool, np.ndarray] | NoPrediction]:
    """Predict depth (H, W) in metres at the truth's size, per frame a map by "is flip-averaged".

    The flipped image is predicted only where a scaling needs it. Where the network sees a crop,
    depth outside it is 0. Raises BadPrediction, which names the frame, and InvalidRequest for a
    flip that the predictor cannot see.
    """
    if not frames:
        return []
    images = [_network_input(frame.image, settings) for frame in frames]
    flips = any(scaling.endswith("-flip") for scaling in settings.scalings)
    if isinstance(predict, FramePredictor):
        if flips:
            raise InvalidRequest(
                f"the scalings {', '.join(settings.scalings)} need predictions of mirrored images, "
                "which this predictor does not have; leave out those that end with -flip."
            )
        return _by_frame(predict, images, frames, settings)
    predicted = _checked(predict(images), images, frames)
    maps = [{False: p} for p in predicted]
    if flips:
        mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        flipped = _checked(predict(mirrored), mirrored, frames)
        for found, p, q in zip(maps, predicted, flipped, strict=True):
            found[True] = average_with_flipped(p, q[:, ::-1], settings.flip_average_of)
    return [
        {key: _at_truth_size(p, frame, settings) for key, p in found.items()}
        for frame, found in zip(frames, maps, strict=True)
    ]


def _by_frame(
    predict: FramePredictor,
    images: Sequence[np.ndarray],
    frames: Sequence[TruthFrame],
    settings: EvaluationSettings,
) -> list[dict[bool, np.ndarray] | NoPrediction]:
    """Maps of the frames that have a prediction, and the reason for the others."""
    found = list(predict(images, [frame.frame_id for frame in frames]))
    if len(found) != len(frames):
        raise BadPrediction(
            f"the predictor returned {len(found)} depth maps for {len(frames)} frames, the first "
            f"of which is {frames[0].frame_id}; expected one for each, in order."
        )
    maps: list[dict[bool, np.ndarray] | NoPrediction] = []
    for one, image, frame in zip(found, images, frames, strict=True):
        if isinstance(one, NoPrediction):
            maps.append(one)
        else:
            (checked,) = _checked([one], [image], [frame])
            maps.append({False: _at_truth_size(checked, frame, settings)})
    return maps


def average_with_flipped(
    prediction_m: np.ndarray, unflipped_m: np.ndarray, average_of: str = "inverse-depth"
) -> np.ndarray:
    """Mean of two depth maps (h, w): of an image, and of the mirrored image mirrored back.

    At each side one map counts alone, on the outer 5 % of the columns and a ramp over 5 %, where a
    stereo-trained network sees less (Godard et al., CVPR 2017, section 3.3). The mean is of inverse
    depth, as in that paper, or of depth, as for KITTI's supervised networks.
    """
    across = np.linspace(0.0, 1.0, prediction_m.shape[1])
    left = 1.0 - np.clip(20.0 * (across - 0.05), 0.0, 1.0)  # weight of the un-flipped alone
    share = 0.5 * (
        1.0 + left - left[::-1]
    )  # (w,): 1 at the left border, 1/2 inside, 0 at the right
    if average_of == "depth":
        mean = share * unflipped_m + (1.0 - share) * prediction_m
    else:
        mean = 1.0 / (share / unflipped_m + (1.0 - share) / prediction_m)
    return mean.astype(np.float32)


def resize_depth(depth_m: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize depth (h, w) bilinearly to `shape` = (H, W) with aligned corners."""
    if depth_m.shape == shape:
        return depth_m
    batch = torch.from_numpy(np.ascontiguousarray(depth_m, np.float32))[None, None]
    resized = torch.nn.functional.interpolate(batch, shape, mode="bilinear", align_corners=True)
    return resized[0, 0].numpy()


def _score(
    frame: TruthFrame, maps: dict[bool, np.ndarray], settings: EvaluationSettings
) -> tuple[list[ImageScore], list[SkippedImage]]:
    assert frame.truth_m is not None
    crop = settings.scored_crop((frame.truth_m.shape[1], frame.truth_m.shape[0]))
    scored: list[ImageScore] = []
    skipped: list[SkippedImage] = []
    for cap_m in settings.caps_m:
        for scaling in settings.scalings:
            metrics = score_image(
                maps[scaling.endswith("-flip")],
                frame.truth_m,
                min_depth_m=settings.min_depth_m,
                max_depth_m=cap_m,
                crop=crop,
                median_scaled=scaling.startswith("median"),
                affine=scaling.startswith("affine"),
                lower_median=settings.truth == "md4all",
            )
            if metrics is None:
                reason = f"no {settings.truth} depth from {settings.min_depth_m:g} to {cap_m:g} m"
                skipped.append(_skipped(frame, cap_m, reason))
                break
            scored.append(image_score(frame, cap_m, scaling, metrics))
    return scored, skipped


def image_score(
    frame: TruthFrame, cap_m: float, scaling: Scaling, metrics: DepthMetrics
) -> ImageScore:
    """Score of a frame under one cap and one scaling."""
    return ImageScore(
        frame_id=frame.frame_id,
        scene_id=frame.scene_id,
        drive_id=frame.drive_id,
        condition=frame.condition,
        cap_m=cap_m,
        scaling=scaling,
        metrics=metrics,
    )


def _skipped(frame: TruthFrame, cap_m: float, reason: str) -> SkippedImage:
    return SkippedImage(
        frame_id=frame.frame_id,
        scene_id=frame.scene_id,
        condition=frame.condition,
        cap_m=cap_m,
        reason=reason,
    )


def _network_input(image: np.ndarray, settings: EvaluationSettings) -> np.ndarray:
    if settings.input_crop == "none":
        return image
    return np.ascontiguousarray(kb_crop((image.shape[1], image.shape[0])).apply(image))


def _at_truth_size(
    prediction_m: np.ndarray, frame: TruthFrame, settings: EvaluationSettings
) -> np.ndarray:
    height, width = frame.image.shape[:2]
    if settings.input_crop == "none":
        return resize_depth(prediction_m, (height, width))
    crop = kb_crop((width, height))
    return crop.paste(resize_depth(prediction_m, (crop.height, crop.width)), (width, height))


def _checked(
    predicted: Sequence[np.ndarray], images: Sequence[np.ndarray], frames: Sequence[TruthFrame]
) -> list[np.ndarray]:
    """Return the predictions as arrays; raises BadPrediction, which names the frame."""
    if len(predicted) != len(images):
        raise BadPrediction(
            f"the model returned {len(predicted)} depth maps for {len(images)} images, the first "
            f"of which is frame {frames[0].frame_id}; expected one for each, in order."
        )
    checked = [np.asarray(p) for p in predicted]
    for p, image, frame in zip(checked, images, frames, strict=True):
        if problem := _problem(p, image):
            raise BadPrediction(
                f"frame {frame.frame_id} ({frame.condition}, scene {frame.scene_id}): {problem}"
            )
    return checked


def _problem(p: np.ndarray, image: np.ndarray) -> str:
    """Describe what is wrong with a predicted depth map of an image; "" for nothing."""
    if p.ndim != 2 or not p.size or p.dtype.kind != "f":
        return f"the prediction is {p.dtype} {p.shape}; expected float (h, w) in metres."
    height, width = image.shape[:2]
    if (p.shape[0] - p.shape[1]) * (height - width) < 0:  # a map of another size is resized
        return f"the prediction is {p.shape} for an image {(height, width)}; is it transposed?"
    bad = int(np.count_nonzero(~(np.isfinite(p) & (p > 0))))
    if bad:
        return (
            f"{bad} of {p.size} predicted depths are not finite and positive. A network that "
            "diverged gives this; nothing was scored."
        )
    return ""
