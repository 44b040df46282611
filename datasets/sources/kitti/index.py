"""Index of a KITTI folder: frames to read, and frames that are listed but absent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightrain.datasets.errors import BrokenSource
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.kitti.config import GroundTruth, KittiConfig, Layout
from nightrain.datasets.sources.kitti.drives import (
    FrameName,
    find_depth_maps,
    find_drives,
    find_images,
    folder_names,
    read_timestamps,
    shorten,
)
from nightrain.datasets.sources.kitti.splits import EigenCounts, Listed, read_lists

DEPTH_MAP_KIND = {"velodyne": "velodyne_raw", "improved": "groundtruth"}

# Other benchmarks, by names that are together in one of their folders.
LAYOUTS = {
    "object benchmark": ({"image_2", "calib"}, {"image_2", "velodyne"}, {"image_2", "label_2"}),
    "scene flow benchmark": ({"image_2", "image_3"}, {"image_2", "calib_cam_to_cam"}),
    "odometry benchmark": ({"sequences"},),
    "depth selection": ({"val_selection_cropped"}, {"test_depth_completion_anonymous"}),
}


@dataclass(frozen=True, slots=True)
class Index:
    """Frames of a folder; `absent` ones are named in a list, but a file of theirs is missing."""

    drives: Sequence[str]
    images: Mapping[FrameName, str]  # file names, relative to the root
    times: Mapping[tuple[str, str], Sequence[int | None] | None]  # by drive and camera
    depth_maps: Mapping[FrameName, tuple[str, str]]  # file name and its part: train, val
    listed: Mapping[FrameName, Listed]  # entries of the split files
    left_out: frozenset[FrameName]  # in the split files, but without improved ground truth
    absent: Mapping[FrameName, str]  # what names it
    frames: Sequence[FrameName]  # all that are listed, sorted
    without_camera: Sequence[str]  # drives that lack one of the config's cameras

    def problems(self) -> Sequence[str]:
        """Sentences about what is missing, with counts and the first few names."""
        said = [f"{folder} is absent" for folder in self.without_camera[:3]]
        for what in sorted(set(self.absent.values())):
            names = [name.source_id for name in self.frames if self.absent.get(name) == what]
            said.append(f"{what} for {len(names)} of {len(self.frames)} frames: {shorten(names)}")
        return said

    def eigen_counts(self, ground_truth: GroundTruth) -> EigenCounts | None:
        """Counts of the listed test frames; None if there are none."""
        test = [name for name, listed in self.listed.items() if listed.split == "test"]
        if ground_truth == "velodyne":
            return EigenCounts(len(test), None) if test else None
        return EigenCounts(len(test), len(set(test) - self.left_out)) if test else None


def read_index(files: Files, config: KittiConfig) -> Index:
    """List the frames below files.root; raises BrokenSource if there is no KITTI drive."""
    cameras, layout, ground_truth = config.cameras, config.layout, config.ground_truth
    drives = find_drives(files)
    if not drives:
        other = _other_layout(files)
        found = f", but KITTI's {other} layout, which {_advice(other)}" if other else ""
        raise BrokenSource(
            f"no KITTI drive below {files.root}{found}; expected <date>/<date>_drive_<n>_sync with "
            "image_02/data, and <date>/calib_cam_to_cam.txt (raw drives, alone or with the maps of "
            "KITTI-depth). Pass the folder of the dates"
        )
    images, times, without_camera = _raw(files, drives, cameras)
    from_maps = layout == "depth" or ground_truth == "improved"
    kind = DEPTH_MAP_KIND[ground_truth]
    maps = find_depth_maps(files, drives, kind, cameras) if from_maps else {}
    if layout == "depth" and not maps:
        raise BrokenSource(
            f"no depth map below {files.root}; expected "
            f"{{train,val}}/<drive>/proj_depth/{kind}/{cameras[0]}/*.png, of KITTI-depth"
        )
    lists = read_lists(config.split_files, config.links) if config.split_files is not None else {}
    listed = {name: frame for name, frame in lists.items() if name.camera in cameras}
    left_out = frozenset(_without_improved(listed, maps) if ground_truth == "improved" else ())
    expected = _expected(layout, times, maps, listed)
    frames = (set(expected) | (set(images) if layout == "raw" else set())) - left_out
    absent = {name: expected[name] for name in frames if name not in images}
    if ground_truth == "improved":
        named = (n for n in frames if n in listed and n in images and n not in maps)
        absent |= dict.fromkeys(named, "a split file names it, but there is no depth map")
    return Index(
        drives=drives,
        images=images,
        times=times,
        depth_maps=maps,
        listed=listed,
        left_out=left_out,
        absent=absent,
        frames=sorted(frames),
        without_camera=without_camera,
    )


def _advice(layout: str) -> str:
    return "`--layout object` reads" if layout == "object benchmark" else "is not supported"


def _other_layout(files: Files) -> str:
    """Name of the benchmark of KITTI that a folder without drives holds; "" for none."""
    for part in ("", "training", "testing"):
        names = {*folder_names(files, part)}
        for layout, marks in LAYOUTS.items():
            if any(mark <= names for mark in marks):
                return layout
    return ""


def _raw(
    files: Files, drives: Sequence[str], cameras: Sequence[str]
) -> tuple[dict[FrameName, str], dict[tuple[str, str], Sequence[int | None] | None], Sequence[str]]:
    images: dict[FrameName, str] = {}
    times: dict[tuple[str, str], Sequence[int | None] | None] = {}
    without_camera: list[str] = []
    for drive in drives:
        for camera in cameras:
            found = find_images(files, drive, camera)
            if found is None:
                without_camera.append(f"{drive}/{camera}")
                continue
            images |= found
            times[drive, camera] = read_timestamps(files, f"{drive[:10]}/{drive}/{camera}")
    return images, times, without_camera


def _expected(
    layout: Layout,
    times: Mapping[tuple[str, str], Sequence[int | None] | None],
    maps: Mapping[FrameName, tuple[str, str]],
    listed: Mapping[FrameName, Listed],
) -> dict[FrameName, str]:
    """Frames that are named by anything other than an image, each with what names it."""
    expected = dict.fromkeys(listed, "a split file names an image, but there is none")
    if layout == "depth":
        return dict.fromkeys(maps, "there is a depth map, but no image") | expected
    stamped = (
        FrameName(drive, number, camera)
        for (drive, camera), stamps in times.items()
        for number in range(len(stamps or ()))
    )
    return dict.fromkeys(stamped, "timestamps.txt has a line, but there is no image") | expected


def _without_improved(
    listed: Mapping[FrameName, Listed], maps: Mapping[FrameName, tuple[str, str]]
) -> set[FrameName]:
    """Listed frames without ground truth in KITTI-depth.

    Either the list says so, or it has no such column and only other frames of the drive have depth
    maps.
    """
    with_maps = {(name.drive, name.camera) for name in maps}
    return {
        name
        for name, frame in listed.items()
        if frame.has_depth is False
        or (frame.has_depth is None and name not in maps and (name.drive, name.camera) in with_maps)
    }


def notes(files: Files, index: Index, ground_truth: GroundTruth) -> Sequence[str]:
    """Notes on the folder for the user, in sentences: poses, times, scans, counts."""
    said: list[str] = []
    for folder, consequence in (
        ("oxts/data", "poses unknown: T_world_camera is the identity, and there are no neighbours"),
        ("velodyne_points/data", "no velodyne depth"),
    ):
        without = [d for d in index.drives if not folder_names(files, f"{d[:10]}/{d}/{folder}")]
        if without:
            said.append(
                f"{len(without)} drives without {folder}, {shorten(without)}: {consequence}"
            )
    if unstamped := [drive for (drive, _), stamps in index.times.items() if stamps is None]:
        said.append(
            f"{len(unstamped)} drives without timestamps.txt, {shorten(unstamped)}: nominal times, "
            "10 Hz from midnight"
        )
    if index.left_out:
        said.append(f"{len(index.left_out)} listed frames without improved ground truth: left out")
    counts = index.eigen_counts(ground_truth)
    if counts is not None and not counts.as_published:
        said.append(str(counts))
    return said
