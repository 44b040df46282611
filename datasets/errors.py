"""Exceptions and reason codes.

NightrainError
├── DamagedInput      one frame of a source cannot be used; has a reason code
│   └── WrongPolarity a depth map shows the road farther away than the horizon
├── BrokenSource      a source as a whole cannot be read (a table is missing or not valid JSON)
├── CorruptShard      a committed file differs from its manifest entry
├── UnreadableFile    a file or folder exists but cannot be read (permissions, a FIFO)
├── PlanMismatch      the dataset was planned with different options or from a different source
├── InvalidRequest    a valid request that cannot be granted; says what to do instead
│   └── UnsuitableStorage  a file system on which no commit can be exclusive
├── RunFailure        an error that every other sample would meet as well, such as a lost GPU
└── DiskFull          no space is left on the device; no partial file remains
"""

from enum import StrEnum


class Reason(StrEnum):
    """Reason code of a quarantined frame or variant."""

    MISSING_FILE = "missing_file"
    EMPTY_FILE = "empty_file"
    UNSAFE_PATH = "unsafe_path"
    TOO_LARGE = "too_large"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    UNDECODABLE_IMAGE = "undecodable_image"
    SIZE_MISMATCH = "size_mismatch"
    BAD_LIDAR = "bad_lidar"
    BAD_CALIBRATION = "bad_calibration"
    BAD_POSE = "bad_pose"
    BAD_RECORD = "bad_record"
    NO_DEPTH = "no_depth"
    BAD_OUTPUT = "bad_output"
    ENGINE_ERROR = "engine_error"
    GATE_REJECTED = "gate_rejected"
    GATE_ERROR = "gate_error"

    @property
    def words(self) -> str:
        """What happened, as part of a sentence: "an image cannot be decoded"."""
        return _WORDS[self]


_WORDS = {
    Reason.MISSING_FILE: "a file is missing",
    Reason.EMPTY_FILE: "a file is empty",
    Reason.UNSAFE_PATH: "a path leads out of the data set's folder",
    Reason.TOO_LARGE: "a file is larger than allowed",
    Reason.CHECKSUM_MISMATCH: "a file differs from its checksum",
    Reason.UNDECODABLE_IMAGE: "an image cannot be decoded",
    Reason.SIZE_MISMATCH: "an image has another size than declared",
    Reason.BAD_LIDAR: "a LiDAR sweep is not plausible",
    Reason.BAD_CALIBRATION: "a calibration is not plausible",
    Reason.BAD_POSE: "a pose is not plausible",
    Reason.BAD_RECORD: "a record of the data set is not valid",
    Reason.NO_DEPTH: "the frame has no usable depth",
    Reason.BAD_OUTPUT: "the engine or model returned an invalid result",
    Reason.ENGINE_ERROR: "the engine or model failed",
    Reason.GATE_REJECTED: "a gate rejected the variant",
    Reason.GATE_ERROR: "a gate failed",
}


class NightrainError(Exception):
    """Base class. Its message says what was found, what was expected and what to do."""


class DamagedInput(NightrainError):
    """One frame cannot be used, for the stated reason; all other frames are unaffected."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["DamagedInput"], tuple[Reason, str]]:
        return type(self), (self.reason, str(self))


class WrongPolarity(DamagedInput):
    """A depth map shows the road farther away than the horizon, or no road at all."""


class BrokenSource(NightrainError):
    """A source as a whole cannot be read."""


class CorruptShard(NightrainError):
    """A committed file differs from its manifest entry or fails its page checksums."""


class UnreadableFile(NightrainError):
    """A file or folder exists but cannot be read: permissions, or a FIFO or device in its place."""


class PlanMismatch(NightrainError):
    """The dataset on disk was planned with different options or from a different source."""


class InvalidRequest(NightrainError):
    """A request is valid but cannot be granted."""


class UnsuitableStorage(InvalidRequest):
    """A file system on which no commit can be exclusive, as hard links are missing or refused."""


class RunFailure(NightrainError):
    """An error of the run and not of a sample; it ends the run, and its shard is not committed."""


class DiskFull(NightrainError):
    """No space is left on the device that holds the dataset."""
