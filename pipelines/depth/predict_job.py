"""Prediction jobs: depth of pictures and videos, as files that other tools read."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, Field

from nightrain.datasets.errors import DamagedInput, InvalidRequest, UnreadableFile
from nightrain.datasets.validation import Settings

if TYPE_CHECKING:
    import numpy as np

    from nightrain.pipelines.runs.stop import Stop

PICTURES = (".jpg", ".jpeg", ".png")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
Form = Literal["npy", "png16", "colour"]
ENDINGS: dict[Form, str] = {"npy": ".npy", "png16": ".png", "colour": ".colour.jpg"}


class PredictJob(Settings):
    """Options of `nightrain predict`.

    The module imports neither torch nor numpy, so that a command's help can be built from it.
    """

    model: Path = Field(
        description="Model folder of nightrain, or of a depth network that transformers saved",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    inputs: tuple[Path, ...] = Field(
        min_length=1,
        description="JPEG and PNG files, folders of them (with all folders below), and videos",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    out: Path = Field(description="Folder for the depth; files that are there are kept")
    form: tuple[Form, ...] = Field(
        default=("png16", "colour"),
        min_length=1,
        description="npy: float32 in metres; png16: 16-bit grey, metres x 256, 0 is none; colour: "
        "near is bright. A network without metres has inverse depth: npy as it is, png16 from "
        "least to largest",
    )
    device: str = Field(default="cpu", description="Device of the network: cpu, cuda, cuda:1, ...")
    batch_size: int = Field(default=4, ge=1, description="Images per batch")


class PredictReport(BaseModel):
    """Outcome of a prediction."""

    out: str
    num_written: int = 0  # pictures whose depth was written now
    num_kept: int = 0  # pictures whose files were there
    failed: dict[str, str] = {}  # by picture: why it has no depth
    stopped: bool = False


class Picture(NamedTuple):
    """A picture to predict, and where its depth goes."""

    source: str  # for people: the file, or the video with the number of the frame
    stem: Path  # below the output folder, without ending
    read: Callable[[], "np.ndarray"]  # (H, W, 3) uint8; raises DamagedInput, UnreadableFile


def predict_pictures(
    job: PredictJob,
    stop: "Stop",
    on_planned: Callable[[int], None] = lambda count: None,
    on_done: Callable[[int], None] = lambda count: None,
) -> PredictReport:
    """Predict the depth of all pictures of a job, or go on where it was interrupted.

    A picture that cannot be read is left out and listed. Raises InvalidRequest for a folder that
    holds no model, inputs without any picture, and two pictures with one name; DiskFull.
    """
    from nightrain.datasets.io.atomic import no_space_is_disk_full, unwritable_is_refused
    from nightrain.pipelines.depth.depth_files import load_depth_network, write_depth

    _require_apart(job)
    pictures = list(pictures_of(job.inputs))
    on_planned(len(pictures))
    report = PredictReport(out=str(job.out))
    missing = [one for one in pictures if not all(p.exists() for p in _files(job, one).values())]
    report.num_kept = len(pictures) - len(missing)
    on_done(report.num_kept)
    network = load_depth_network(job.model, job.device) if missing else None
    for start in range(0, len(missing), job.batch_size):
        if stop.requested:
            report.stopped = True
            break
        batch = missing[start : start + job.batch_size]
        read = list(_readable(batch, report))
        assert network is not None
        with unwritable_is_refused(job.out), no_space_is_disk_full(job.out):
            for (picture, _), depth in zip(read, network([i for _, i in read]), strict=True):
                write_depth(depth, _files(job, picture))
        report.num_written += len(read)
        on_done(len(batch))
    return report


def _require_apart(job: PredictJob) -> None:
    """Raise InvalidRequest if depth would be written among the pictures."""
    out = job.out.resolve()
    for path in job.inputs:
        folder = (path if path.is_dir() else path.parent).resolve()
        if out == folder or (path.is_dir() and folder in out.parents):
            raise InvalidRequest(
                f"--out {job.out} lies in {folder}, where the pictures are; name a folder apart, "
                "so that depth is never taken for a picture."
            )


def _readable(
    batch: Sequence[Picture], report: PredictReport
) -> Iterator[tuple[Picture, "np.ndarray"]]:
    for picture in batch:
        try:
            yield picture, picture.read()
        except (DamagedInput, UnreadableFile) as error:
            report.failed[picture.source] = str(error)


def _files(job: PredictJob, picture: Picture) -> dict[str, Path]:
    """File of each form."""
    return {form: job.out / f"{picture.stem}{ENDINGS[form]}" for form in job.form}


def pictures_of(inputs: Sequence[Path]) -> Iterator[Picture]:
    """Yield the pictures of files, folders and videos, in the order of their names.

    Raises InvalidRequest for an input that is none of these, and where two would have one name.
    """
    seen: dict[Path, str] = {}
    for path in inputs:
        found = list(_of_input(path))
        if not found:
            raise InvalidRequest(
                f"{path} holds no picture. Expected a JPEG or PNG file, a folder with some, or a "
                f"video ({', '.join(VIDEOS)})."
            )
        for picture in found:
            if picture.stem in seen:
                raise InvalidRequest(
                    f"{seen[picture.stem]} and {picture.source} would both be written to "
                    f"{picture.stem}. Give their common folder, or predict them into two folders."
                )
            seen[picture.stem] = picture.source
            yield picture


def _of_input(path: Path) -> Iterator[Picture]:
    from nightrain.datasets.io.regular import files_below

    if path.is_dir():
        for below in files_below(path):
            if below.suffix.lower() in PICTURES:
                yield _picture(below, below.relative_to(path).with_suffix(""))
    elif path.suffix.lower() in VIDEOS:
        yield from _of_video(path)
    elif path.suffix.lower() in PICTURES:
        yield _picture(path, Path(path.stem))


def _picture(path: Path, stem: Path) -> Picture:
    def read() -> "np.ndarray":
        import numpy as np

        from nightrain.datasets.io.image_formats import format_name
        from nightrain.datasets.io.images import decode_jpeg, decode_png
        from nightrain.datasets.io.regular import read_regular

        data = read_regular(path)
        image = decode_png(data) if format_name(data) == "a PNG" else decode_jpeg(data)
        return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)

    return Picture(str(path), stem, read)


def _of_video(path: Path) -> Iterator[Picture]:
    """Yield the frames of a video, numbered from 0."""
    from nightrain.pipelines.depth.depth_files import VideoFrames

    frames = VideoFrames(path)
    for number in range(len(frames)):
        stem = Path(path.stem) / f"{number:06d}"
        yield Picture(f"{path} frame {number}", stem, lambda number=number: frames.read(number))
