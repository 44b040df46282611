"""Amounts of a budget: "2h", "1.5device-h", "10GB", "20EUR"."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
DEVICE = "device-"  # before a unit of time: summed over the devices or workers
BYTES = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
CURRENCY = re.compile(r"[A-Z]{3}")
AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z-]+)")
EXPECTED = (
    "expected a number above 0 with a unit: s, min, h or d of wall time, device-min or device-h of "
    "all devices together, MB, GB or TB of disk, or a currency such as EUR"
)

Kind = Literal["seconds", "device_seconds", "bytes", "money"]


class Amount(NamedTuple):
    """Amount of one kind: seconds, bytes, or units of a currency."""

    number: float
    kind: Kind
    text: str


def parse_amount(text: str) -> Amount:
    """Parse an amount; raises ValueError, also for 0 and negative ones."""
    found = AMOUNT.fullmatch(text.strip())
    kind = None if found is None else _kind(found[2])
    if found is None or kind is None or not float(found[1]):
        raise ValueError(f"found {text!r:.40}, {EXPECTED}")
    scale, name = kind
    return Amount(float(found[1]) * scale, name, text.strip())


def _kind(unit: str) -> tuple[float, Kind] | None:
    """Factor and kind of a unit; None for an unknown one."""
    if CURRENCY.fullmatch(unit):
        return 1.0, "money"
    lower = unit.lower()
    if lower in BYTES:
        return BYTES[lower], "bytes"
    if lower in SECONDS:
        return SECONDS[lower], "seconds"
    if lower.startswith(DEVICE) and lower.removeprefix(DEVICE) in SECONDS:
        return SECONDS[lower.removeprefix(DEVICE)], "device_seconds"
    return None


def _is_an_amount(text: str) -> str:
    parse_amount(text)
    return text


AmountText = Annotated[str, AfterValidator(_is_an_amount)]


class RunBudget(NamedTuple):
    """Limits of what a run may spend; None where there is none."""

    seconds: float | None  # of wall time, from the start of the run
    num_bytes: float | None  # by which the folders that the run writes to may grow
    text: str  # as it was given

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return self.seconds is not None or self.num_bytes is not None


NO_BUDGET = RunBudget(None, None, "")


def budget_of(texts: Sequence[str], num_devices: int, price_per_hour: float | None) -> RunBudget:
    """Budget from amounts; of several limits of one kind, the smallest counts.

    `num_devices` devices or workers spend device time at once, each at `price_per_hour`. Raises
    ValueError.
    """
    amounts = [parse_amount(text) for text in texts]
    seconds = [a.number for a in amounts if a.kind == "seconds"]
    seconds += [a.number / num_devices for a in amounts if a.kind == "device_seconds"]
    for amount in (a for a in amounts if a.kind == "money"):
        if price_per_hour is None:
            raise ValueError(
                f"found the amount {amount.text} without a price; add --price-per-hour, the price "
                "of one device or worker in the same currency"
            )
        seconds.append(3600 * amount.number / price_per_hour / num_devices)
    return RunBudget(
        seconds=min(seconds, default=None),
        num_bytes=min((a.number for a in amounts if a.kind == "bytes"), default=None),
        text=" or ".join(a.text for a in amounts),
    )


def needs_devices(texts: Sequence[str]) -> bool:
    """Whether the number of devices decides how long a budget lasts; raises ValueError."""
    return any(parse_amount(text).kind in ("device_seconds", "money") for text in texts)
