"""A source in a package of its own: a folder of JPEGs from one calibrated camera.

FOLDER/camera.json      {"intrinsics": [[f, 0, cx], [0, f, cy], [0, 0, 1]], "licence": "CC-BY-4.0"}
FOLDER/NAME.jpg         clear images, in the order of their names
FOLDER/NAME.depth.png   optional: 16-bit depth of NAME.jpg, metres x 256, 0 = none
"""

import json
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.ids import frame_id
from nightrain.datasets.io.images import JpegImage, decode_depth_png
from nightrain.datasets.sources.base import FrameSource, SourceConfig


class JpegsConfig(SourceConfig):
    """Options of the source; each field is an option of `nightrain ingest jpegs`."""

    source: ClassVar[str] = "jpegs_source:JpegsSource"
    summary: ClassVar[str] = "Read a folder of JPEGs from one calibrated camera."


class JpegsSource(FrameSource):
    """Frames of one camera at rest in the world; every frame is a clear train frame."""

    name = "jpegs"

    def __init__(self, config: JpegsConfig) -> None:
        self.root = root = config.root
        try:
            camera = json.loads((root / "camera.json").read_text())
            self.intrinsics = np.array(camera["intrinsics"], np.float64).reshape(3, 3)
            self.licence, self.attribution = camera["licence"], camera.get("attribution", "")
        except (OSError, ValueError, KeyError) as error:
            raise BrokenSource(
                f"{root}/camera.json cannot be read ({error!r}); expected a JSON object with "
                "`intrinsics`, 3 x 3 numbers in pixels, and `licence`."
            ) from error

    def select(self, split: str) -> Sequence[FrameRef]:
        """List the JPEGs by name; `split` "val" and "test" are empty."""
        names = sorted(path.stem for path in self.root.glob("*.jpg"))
        refs = [self._ref(name, index) for index, name in enumerate(names)]
        return refs if split in ("train", "all") else []

    def load(self, ref: FrameRef) -> Frame:
        """Read one image and its depth; raises DamagedInput."""
        path = self.root / f"{ref.source_id}.jpg"
        try:
            image = JpegImage(path.read_bytes())
        except OSError as error:
            raise DamagedInput(Reason.MISSING_FILE, f"{path}: {error}") from error
        image.size()  # raises DamagedInput for a file that is not a JPEG
        depth = path.with_suffix(".depth.png")
        return Frame(
            frame_id=ref.frame_id,
            source_dataset=self.name,
            source_id=ref.source_id,
            split=ref.split,
            scene_id=ref.scene_id,
            description="",
            camera=ref.camera,
            condition=ref.condition,
            timestamp_us=ref.timestamp_us,
            image=image,
            intrinsics=self.intrinsics,
            T_world_camera=np.eye(4),
            lidar_depth_m=decode_depth_png(depth.read_bytes()) if depth.exists() else None,
        )

    def _ref(self, name: str, index: int) -> FrameRef:
        return FrameRef(
            frame_id=frame_id(self.name, name),
            source_id=name,
            split="train",
            scene_id=self.root.name,
            camera="camera",
            condition=Condition.CLEAR,
            timestamp_us=100_000 * index,
        )
