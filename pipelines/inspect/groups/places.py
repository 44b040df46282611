"""Places: where the logs of published data sets were recorded, and their time zones."""

from typing import NamedTuple


class LogPlace(NamedTuple):
    """A place, and the zone in which a timestamp of its logs reads as local time."""

    name: str
    zone: str


UNKNOWN = LogPlace("unknown", "UTC")

# By source and by how the names of its logs begin: nuScenes names them after their car.
_PLACES = (
    ("nuscenes", "n008-", LogPlace("Boston", "America/New_York")),
    ("nuscenes", "n015-", LogPlace("Singapore", "Asia/Singapore")),
    ("robotcar", "", LogPlace("Oxford", "Europe/London")),
    ("kitti", "", LogPlace("Karlsruhe", "UTC")),  # its files hold local time without a zone
)


def place_of(source: str, log: str) -> LogPlace:
    """Place of a log of a source; UNKNOWN for what is in no table here."""
    found = (p for of, start, p in _PLACES if source == of and log.startswith(start))
    return next(found, UNKNOWN)
