"""What can go wrong, named.

NightrainError
├── DamagedInput      one frame of a source cannot be used; carries a reason code
│   └── WrongPolarity a depth map whose road is farther than its horizon
├── BrokenSource      a whole source cannot be read (a table is missing or is no JSON)
├── CorruptShard      a committed file is not what its manifest entry says
├── PlanMismatch      a command meets a dataset that was planned otherwise
├── InvalidRequest           a request that is understood and not granted, with what to do instead
└── DiskFull          no space is left; nothing half-written stays
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a frame or a variant was quarantined."""

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


class NightrainError(Exception):
    """A failure whose message says what was found, what was expected and what to do."""


class DamagedInput(NightrainError):
    """One frame cannot be used, for the stated reason; the frames beside it are unaffected."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["DamagedInput"], tuple[Reason, str]]:
        return type(self), (self.reason, str(self))


class WrongPolarity(DamagedInput):
    """A depth map whose road is farther than its horizon, or that shows no road at all."""


class BrokenSource(NightrainError):
    """A source as a whole cannot be read."""


class CorruptShard(NightrainError):
    """A committed file differs from its manifest entry or fails its page checksums."""


class PlanMismatch(NightrainError):
    """The dataset on disk was planned with other options or from another source."""


class InvalidRequest(NightrainError):
    """A request that is understood and not granted."""


class DiskFull(NightrainError):
    """No space is left on the device that holds the dataset."""
