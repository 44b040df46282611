"""Evaluation settings: split, ground truth, depth range, crop, scalings and condition buckets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from nightrain.datasets.conditions import CONDITIONS, Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.splits import Split
from nightrain.datasets.validation import Settings

if TYPE_CHECKING:
    from nightrain.datasets.geometry.crops import Crop, Order

Truth = Literal["lidar", "exact", "md4all"]
Scaling = Literal["metric", "median", "metric-flip", "median-flip", "affine", "affine-flip"]
CropName = Literal["none", "garg", "eigen", "kb", "kb_then_garg", "garg_on_full_frame"]

MEDIAN_DEPTH = "median-depth"  # name of the constant median-depth baseline
TRUTH_COLUMN: Mapping[Truth, str] = {
    "lidar": "lidar_depth",
    "exact": "exact_depth",
    "md4all": "lidar_depth",  # of a dataset that was ingested with --projection md4all
}
SCALING_WORDS: Mapping[Scaling, str] = {
    "metric": "metric",
    "median": "median-scaled",
    "metric-flip": "metric, averaged with the flipped image",
    "median-flip": "median-scaled, averaged with the flipped image",
    "affine": "fitted in scale and shift of inverse depth",
    "affine-flip": "averaged with the flipped image, fitted in scale and shift of inverse depth",
}
INSIDE_KB: tuple[CropName, ...] = ("kb", "kb_then_garg", "garg_on_full_frame")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Group of conditions with images that are averaged together."""

    name: str
    conditions: tuple[Condition, ...]
    md4all: Literal["tables", "code", ""] = (
        ""  # md4all has the bucket in its tables, only in its code, or not at all
    )


# Buckets of md4all, in its order: those of its papers' tables, and those of its code alone. Its
# "night" includes rainy nights, because it finds conditions as parts of words.
MD4ALL_BUCKETS: Mapping[str, Literal["tables", "code"]] = {
    "day-clear": "tables",
    "night": "tables",
    "day-rain": "tables",
    "night-clear": "code",
    "night-rain": "code",
}


def _buckets() -> tuple[Bucket, ...]:
    """Return md4all's buckets, then all others of the table of conditions, then "all"."""
    named = [name for row in CONDITIONS.values() for name in row.buckets]
    buckets = [
        Bucket(
            name,
            tuple(c for c in Condition if name in CONDITIONS[c].buckets),
            MD4ALL_BUCKETS.get(name, ""),
        )
        for name in dict.fromkeys([*MD4ALL_BUCKETS, *named])
    ]
    # md4all's "all" holds the conditions of the first five; here it holds every condition.
    return (*buckets, Bucket("all", tuple(Condition), "code"))


BUCKETS = _buckets()


class EvaluationSettings(Settings):
    """Everything that determines the scores of an evaluation, except the model and the frames."""

    protocol: str = "own"
    split: Split = "val"
    cameras: tuple[str, ...] = ()  # empty: all of them
    truth: Truth = "lidar"
    min_depth_m: float = Field(default=0.1, gt=0)
    caps_m: tuple[float, ...] = Field(
        default=(80.0, 50.0), min_length=1
    )  # the first is the main one
    crop: CropName = "none"  # pixels that are scored
    input_crop: Literal["none", "kb"] = "none"  # pixels that the network sees
    scalings: tuple[Scaling, ...] = Field(
        default=("metric", "median", "metric-flip", "median-flip"), min_length=1
    )
    flip_average_of: Literal["inverse-depth", "depth"] = "inverse-depth"

    @model_validator(mode="after")
    def _consistent(self) -> "EvaluationSettings":
        if any(cap <= self.min_depth_m for cap in self.caps_m):
            raise ValueError(f"caps are {self.caps_m} m; expected more than {self.min_depth_m} m")
        if self.input_crop == "kb" and self.crop not in INSIDE_KB:
            raise ValueError(
                f"the network sees the KB crop and crop {self.crop!r} scores pixels outside it; "
                f"choose {', '.join(INSIDE_KB)}"
            )
        return self

    def scored_crop(self, size: tuple[int, int]) -> "Crop | None":
        """Crop of a frame of `size` = (width, height) in which pixels are scored; None: all of it.

        Raises InvalidRequest where the order of crops needs a full frame and this one is already
        cropped.
        """
        if self.crop == "none":
            return None
        from nightrain.datasets.geometry import crops  # here: a command's help needs no numpy

        if self.crop == "garg_on_full_frame" and size == crops.KB_SIZE:
            raise InvalidRequest(
                "crop 'garg_on_full_frame' takes fractions of the full frame, and the frames here "
                "are 1216x352, already cropped. Choose kb_then_garg, or ingest without --kb-crop."
            )
        by_name = {"garg": crops.garg_crop, "eigen": crops.eigen_crop, "kb": crops.kb_crop}
        return (by_name | dict(crops.ORDERS))[self.crop](size)


def md4all_nuscenes() -> EvaluationSettings:
    """md4all's evaluation on nuScenes val: front camera, LiDAR keyframes, 0.1 to 80 m, no crop.

    `nightrain evaluate MODEL DATASET --protocol md4all-nuscenes`; the published images are 4,449
    day-clear, 602 night and 968 day-rain (`nightrain protocol nuscenes` counts those of a dataset).
    Compare metric models in scaling "metric", median-scaled ones (M*) in "median". md4all's own
    ground truth puts points on other pixels: for its figures to the digit, ingest with
    `--projection md4all` and add `--truth md4all`, which also takes the lower of two medians.
    """
    return EvaluationSettings(protocol="md4all-nuscenes", cameras=("CAM_FRONT",), caps_m=(80.0,))


def md4all_robotcar() -> EvaluationSettings:
    """md4all's evaluation on RobotCar test: 702 day and 709 night images, 0.1 to 50 m, no crop.

    `nightrain evaluate MODEL DATASET --protocol md4all-robotcar`.
    """
    return EvaluationSettings(protocol="md4all-robotcar", split="test", caps_m=(50.0,))


def affine(name: str, of: EvaluationSettings) -> EvaluationSettings:
    """Affine-invariant evaluation on the frames of another protocol.

    For networks whose inverse depth is relative: each prediction is fitted to the truth in scale
    and shift of inverse depth (`aligned_depth` in metrics.py), as DepthAnything-AC (arXiv
    2507.01634) reports abs_rel and d1 on nuScenes and RobotCar at night. We have not compared the
    bounds to which its code clamps.
    """
    scalings: tuple[Scaling, ...] = ("affine", "affine-flip")
    return of.model_copy(update={"protocol": name, "scalings": scalings})


def kitti_eigen(
    order: "Order" = "kb_then_garg", input_crop: Literal["none", "kb"] = "none"
) -> EvaluationSettings:
    """KITTI Eigen test, 652 images with improved truth: Garg's crop, 0.001 to 80 m (PixelFormer).

    `nightrain ingest kitti ... --ground-truth improved` ingests the frames, then
    `nightrain evaluate MODEL DATASET --protocol kitti-eigen` scores them (kitti-eigen-full: the
    other order of the crops, which scores other pixels). A prediction that is not finite is an
    error; PixelFormer's published code replaces it.
    """
    from nightrain.datasets.geometry import crops  # here: a command's help needs no numpy

    return EvaluationSettings(
        protocol="kitti-eigen" if order == "kb_then_garg" else "kitti-eigen-full",
        split="test",
        min_depth_m=crops.MIN_DEPTH_M,
        caps_m=(crops.MAX_DEPTH_M,),
        crop=order,
        input_crop=input_crop,
        flip_average_of="depth",
    )


PROTOCOLS: Mapping[str, Callable[[], EvaluationSettings]] = {
    "own": EvaluationSettings,
    "md4all-nuscenes": md4all_nuscenes,
    "md4all-robotcar": md4all_robotcar,
    "affine-nuscenes": lambda: affine("affine-nuscenes", md4all_nuscenes()),
    "affine-robotcar": lambda: affine("affine-robotcar", md4all_robotcar()),
    "kitti-eigen": kitti_eigen,
    "kitti-eigen-full": lambda: kitti_eigen("garg_on_full_frame"),
}
