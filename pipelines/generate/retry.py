"""An engine on a batch, and on each of its samples alone where the batch as a whole fails."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from nightrain.datasets.errors import DamagedInput, InvalidRequest, Reason
from nightrain.datasets.shards.schema import PHYSICAL
from nightrain.pipelines.engines.base import DeviceEngine, Engine, Request, Variant
from nightrain.pipelines.runs.device_lock import sole_use

PHYSICAL_NAMES = {field.name for field in PHYSICAL}
MAX_ATTEMPTS = 3  # of one sample before it is quarantined

Outcomes = list[Variant | Exception]
T = TypeVar("T")


def run_engine(
    engine: Engine, requests: Sequence[Request], batch_size: int | None = None
) -> Outcomes:
    """One variant or failure per request; where a batch fails, its samples are run alone.

    An engine with a device has it to itself meanwhile, and makes batches of `batch_size`; None:
    as many as there are requests. Raises InvalidRequest, which is every sample's.
    """
    if not requests:
        return []
    if not isinstance(engine, DeviceEngine):
        made = _unless_it_fails(lambda: _checked(requests, engine.generate(requests)))
        return [_alone(engine, r, 1) for r in requests] if made is None else list(made)
    size = batch_size or len(requests)
    with sole_use(engine.device_id()):
        try:
            embedded = embed_batch(engine, requests)
            begun = begin_batch(engine, embedded, size)
            return finish_batch(engine, requests, begun, size)
        finally:
            engine.rest()


def embed_batch(engine: DeviceEngine, requests: Sequence[Request]) -> Any:
    """The engine's `embed`; None where it fails. Raises InvalidRequest."""
    return _unless_it_fails(lambda: engine.embed(requests)) if requests else None


def begin_batch(engine: DeviceEngine, embedded: Any, batch_size: int) -> Any:
    """The engine's `begin` of what `embed_batch` gave; None where either fails. Raises
    InvalidRequest.
    """
    if embedded is None:
        return None
    return _unless_it_fails(lambda: engine.begin(embedded, batch_size))


def finish_batch(
    engine: DeviceEngine, requests: Sequence[Request], begun: Any, batch_size: int
) -> Outcomes:
    """The outcomes of what `begin_batch` gave; each sample alone where that is None or fails.

    Raises InvalidRequest.
    """
    if begun is not None:
        made = _unless_it_fails(lambda: _checked_outcomes(requests, engine.finish(begun)))
        if made is not None:
            return made
    return [_alone(engine, request, batch_size) for request in requests]


def _unless_it_fails(step: Callable[[], T]) -> T | None:
    try:
        return step()
    except InvalidRequest:  # no sample would fare better
        raise
    except Exception:  # whatever an engine raises concerns some sample: find out which
        return None


def _alone(engine: Engine, request: Request, batch_size: int) -> Variant | Exception:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            return _checked([request], [_one(engine, request, batch_size)])[0]
        except Exception as error:
            if attempt == MAX_ATTEMPTS:
                return error
    raise AssertionError("unreachable")


def _one(engine: Engine, request: Request, batch_size: int) -> Variant:
    if not isinstance(engine, DeviceEngine):
        (made,) = _checked([request], engine.generate([request]))
        return made
    (outcome,) = engine.finish(engine.begin(engine.embed([request]), batch_size))
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _checked_outcomes(
    requests: Sequence[Request], outcomes: Sequence[Variant | Exception]
) -> list[Variant | Exception]:
    """The outcomes; raises DamagedInput where a variant is not what was asked for."""
    made = [(r, o) for r, o in zip(requests, outcomes, strict=True) if isinstance(o, Variant)]
    _checked([r for r, _ in made], [o for _, o in made])
    return list(outcomes)


def _checked(requests: Sequence[Request], variants: Sequence[Variant]) -> Sequence[Variant]:
    """The variants, if they are what was asked for; raises DamagedInput."""
    if len(variants) != len(requests):
        raise DamagedInput(
            Reason.BAD_OUTPUT, f"{len(requests)} variants were asked for, {len(variants)} came"
        )
    for request, variant in zip(requests, variants, strict=True):
        if unknown := set(variant.physical) - PHYSICAL_NAMES:
            raise DamagedInput(
                Reason.BAD_OUTPUT, f"no column holds the physical values {sorted(unknown)}"
            )
        if variant.image.dtype != np.uint8 or variant.image.shape != request.image.shape:
            raise DamagedInput(
                Reason.BAD_OUTPUT,
                f"the engine gave {variant.image.dtype} {variant.image.shape}, expected uint8 "
                f"{request.image.shape}",
            )
    return variants
