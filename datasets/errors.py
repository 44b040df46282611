"""Exceptions and reason codes.

NightrainError
├── DamagedInput      one frame of a source cannot be used; has a reason code
│   └── WrongPolarity a depth map shows the road farther away than the horizon
├── BrokenSource      a source as a whole cannot be read (a table is missing or not valid JSON)
├── CorruptShard      a committed file differs from its manifest entry
├── PlanMismatch      the dataset was planned with different options or from a different source
├── InvalidRequest    a valid request that cannot be granted; says what to do instead
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


class PlanMismatch(NightrainError):
    """The dataset on disk was planned with different options or from a different source."""


class InvalidRequest(NightrainError):
    """A request is valid but cannot be granted."""


class DiskFull(NightrainError):
    """No space is left on the device that holds the dataset."""
