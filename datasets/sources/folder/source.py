"""Folder source: frames of a described folder of pictures."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason
from nightrain.datasets.frame import Frame, FrameRef, Neighbour
from nightrain.datasets.geometry.projection import invert_rigid
from nightrain.datasets.ids import frame_id
from nightrain.datasets.io.images import JpegImage
from nightrain.datasets.io.pairing import Pairing
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.folder.camera import intrinsics_of, mounting
from nightrain.datasets.sources.folder.config import FolderConfig
from nightrain.datasets.sources.folder.description import read_description
from nightrain.datasets.sources.folder.files import read_depth, read_matrix, read_picture
from nightrain.datasets.sources.folder.listing import assigned, read_listing
from nightrain.datasets.sources.folder.poses import Record, read_records
from nightrain.datasets.splits import NO_SPLIT, check_split, is_in_split, other_splits

NOMINAL_STEP_US = 100_000  # between pictures whose times are unknown
MOST_GAP_US = 1_000_000  # between neighbours; a longer gap is another drive
NO_RECORD = Record(None, None)


class FolderSource(FrameSource):
    """Frames of one camera of a described folder, in the order of their paths.

    A picture without a pose has the identity and no neighbours. Neighbours are the nearest
    pictures in time of the same scene, at most one second away.
    """

    own_splits = True

    def __init__(self, config: FolderConfig) -> None:
        self.config = config
        self._description = description = read_description(config.root)
        self.name, self.licence = description.name, description.licence
        self.attribution = description.attribution
        root = config.root.parent / description.root
        if not root.is_dir():
            raise BrokenSource(
                f"`root: {description.root}` of {config.root} is not a folder: {root}"
            )
        self._files = Files.below(root, config.links)
        self._listing = read_listing(self._files, description)
        keys = tuple(self._listing.pictures)
        self._conditions = assigned(self._files, description.condition, keys, Condition.CLEAR)
        self._splits = assigned(self._files, description.split, keys, NO_SPLIT)
        self._records: Mapping[str, Record] = (
            read_records(self._files, description.poses, keys) if description.poses else {}
        )
        self._refs = {key: self._ref(key, index) for index, key in enumerate(keys)}
        self._neighbours = _neighbours(self._refs, self._records) if config.neighbours else {}
        self.notes = self._listing.notes + self._notes_on_poses()

    def __reduce__(self) -> tuple[type["FolderSource"], tuple[FolderConfig]]:
        return FolderSource, (self.config,)

    def select(self, split: str) -> Sequence[FrameRef]:
        """List the pictures of a split by path; raises InvalidRequest for an unknown split."""
        check_split(split)
        self.left_out = other_splits((ref.split for ref in self._refs.values()), split)
        return [ref for ref in self._refs.values() if is_in_split(ref.split, split)]

    def load(self, ref: FrameRef) -> Frame:
        """Read one picture with its depth and neighbours; raises DamagedInput."""
        key, maps = ref.source_id, self._description.depth
        image, size = self._picture(key)
        depth_m, file = None, _paired(self._listing.depth, key, "depth map")
        if maps is not None and file is not None:
            depth_m = read_depth(self._files, file, maps, size)
        is_dense = maps is not None and maps.kind == "dense"
        T_world_camera = self._records.get(key, NO_RECORD).T_world_camera
        before, after = self._neighbours.get(key, (None, None))
        return Frame(
            frame_id=ref.frame_id,
            source_dataset=self.name,
            source_id=key,
            split=ref.split,
            scene_id=ref.scene_id,
            description=self._description.words,
            camera=ref.camera,
            condition=ref.condition,
            timestamp_us=ref.timestamp_us,
            image=image,
            intrinsics=self._intrinsics(key, size),
            T_world_camera=np.eye(4) if T_world_camera is None else T_world_camera,
            T_ego_camera=mounting(self._description),
            lidar_depth_m=None if is_dense else depth_m,
            exact_depth_m=depth_m if is_dense else None,
            previous=self._neighbour(key, before),
            next=self._neighbour(key, after),
        )

    def _ref(self, key: str, index: int) -> FrameRef:
        time_us = self._records.get(key, NO_RECORD).timestamp_us
        folder = str(PurePosixPath(key).parent)
        return FrameRef(
            frame_id=frame_id(self.name, key),
            source_id=key,
            split=self._splits[key],
            scene_id=self._description.scene or (self.name if folder == "." else folder),
            camera=self._description.camera,
            condition=Condition(self._conditions[key]),
            timestamp_us=NOMINAL_STEP_US * index if time_us is None else time_us,
        )

    def _picture(self, key: str) -> tuple[JpegImage, tuple[int, int]]:
        files = self._listing.pictures.get(key, ())
        if not files:
            raise DamagedInput(Reason.MISSING_FILE, f"there is no picture {key} any more")
        if len(files) > 1:
            raise _doubled("pictures", files)
        return read_picture(self._files, files[0])

    def _intrinsics(self, key: str, size: tuple[int, int]) -> np.ndarray:
        settings, given = self._description.intrinsics, None
        if settings.files is not None:
            file = _paired(self._listing.intrinsics, key, "calibration")
            if file is None:
                raise DamagedInput(
                    Reason.BAD_CALIBRATION,
                    f"no file of `intrinsics: {settings.files}` has the stem of {key}; add one",
                )
            given = read_matrix(self._files, file)
        return intrinsics_of(settings, given, size)

    def _neighbour(self, key: str, other: str | None) -> Neighbour | None:
        if other is None:
            return None
        here, there = self._records[key].T_world_camera, self._records[other].T_world_camera
        assert here is not None and there is not None  # `_neighbours` has no others
        try:
            image, size = self._picture(other)
            intrinsics = self._intrinsics(other, size)
        except DamagedInput as error:
            raise DamagedInput(error.reason, f"its neighbour {other}: {error}") from error
        return Neighbour(
            source_id=other,
            timestamp_us=self._refs[other].timestamp_us,
            image=image,
            intrinsics=intrinsics,
            T_neighbour_camera=invert_rigid(there) @ here,
        )

    def _notes_on_poses(self) -> tuple[str, ...]:
        without = [k for k in self._refs if self._records.get(k, NO_RECORD).T_world_camera is None]
        if not without:
            return ()
        return (
            f"{len(without)} of {len(self._refs)} pictures have no pose: T_world_camera is the "
            "identity, and there are no neighbours",
        )


def _neighbours(
    refs: Mapping[str, FrameRef], records: Mapping[str, Record]
) -> dict[str, tuple[str | None, str | None]]:
    """Pictures before and after each one with a pose, in the same scene and soon enough."""
    posed = [key for key in refs if records.get(key, NO_RECORD).T_world_camera is not None]
    posed.sort(key=lambda key: (refs[key].scene_id, refs[key].timestamp_us))

    def if_near(key: str, other: str) -> str | None:
        gap_us = abs(refs[other].timestamp_us - refs[key].timestamp_us)
        same = refs[key].scene_id == refs[other].scene_id
        return other if same and 0 < gap_us <= MOST_GAP_US else None

    before = [None, *(if_near(key, other) for other, key in pairwise(posed))]
    after = [*(if_near(key, other) for key, other in pairwise(posed)), None]
    return dict(zip(posed, zip(before, after, strict=True), strict=True)) if posed else {}


def _paired(pairing: Pairing, key: str, what: str) -> str | None:
    """File of a picture, None if there is none; raises DamagedInput if it is not clear which."""
    if key in pairing.doubled:
        raise _doubled(f"{what}s", pairing.doubled[key])
    for file, targets in pairing.unclear.items():
        if key in targets:
            raise DamagedInput(
                Reason.BAD_RECORD,
                f"the {what} {file} fits {len(targets)} pictures, such as "
                f"{' and '.join(targets[:2])}; repeat the pictures' folders, so that it fits one",
            )
    return pairing.found.get(key)


def _doubled(what: str, files: Sequence[str]) -> DamagedInput:
    return DamagedInput(
        Reason.BAD_RECORD,
        f"found {len(files)} {what} of this name, {' and '.join(files[:2])}; expected one. Move "
        "the others elsewhere",
    )
