"""Retries: run an engine on a batch, and on each sample alone if the batch fails."""

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.shards.schema import PHYSICAL
from nightrain.pipelines.engines.base import Engine, Request, Variant
from nightrain.pipelines.runs.batches import isolate_failures, raise_if_it_ends_the_run
from nightrain.pipelines.runs.device_lock import sole_use

PHYSICAL_NAMES = {field.name for field in PHYSICAL}
MAX_ATTEMPTS = 3  # per sample, before it is quarantined

Outcomes = list[Variant | Exception]
T = TypeVar("T")


def run_engine(
    engine: Engine, requests: Sequence[Request], batch_size: int | None = None
) -> Outcomes:
    """Return one variant or failure per request; samples of a failed batch are retried alone.

    The engine's device is locked meanwhile. Batches have `batch_size` requests; None: all of them.
    Raises InvalidRequest and RunFailure, which affect every sample.
    """
    if not requests:
        return []
    size = batch_size or len(requests)
    with sole_use(engine.device_id()), resting(engine):
        begun = begin_batch(engine, embed_batch(engine, requests), size)
        return finish_batch(engine, requests, begun, size)


@contextmanager
def resting(engine: Engine) -> Iterator[None]:
    """Release the engine's device memory after the block.

    A device that the block lost cannot release any; the block's own error is the one that counts.
    """
    try:
        yield
    except BaseException:
        with suppress(Exception):
            engine.rest()
        raise
    engine.rest()


def embed_batch(engine: Engine, requests: Sequence[Request]) -> Any:
    """Run the engine's `embed`; return None if it fails. Raises InvalidRequest, RunFailure."""
    return _unless_it_fails(lambda: engine.embed(requests)) if requests else None


def begin_batch(engine: Engine, embedded: Any, batch_size: int) -> Any:
    """Run the engine's `begin` on a result of `embed_batch`; return None if either failed.

    Raises InvalidRequest, RunFailure.
    """
    if embedded is None:
        return None
    return _unless_it_fails(lambda: engine.begin(embedded, batch_size))


def finish_batch(
    engine: Engine,
    requests: Sequence[Request],
    begun: Any,
    batch_size: int,
    *,
    failed_before: bool = False,
) -> Outcomes:
    """Return the outcomes of a result of `begin_batch`; retry samples alone if a step failed.

    Raises InvalidRequest, and RunFailure if the device is lost or if all samples fail alike, unless
    they are samples that `failed_before`.
    """

    def run(_: Sequence[Request]) -> Outcomes:
        if begun is None:
            raise RuntimeError("the engine failed on the batch")
        return _checked(requests, engine.finish(begun))

    def run_alone(request: Request) -> Variant | Exception:
        begun = engine.begin(engine.embed([request]), batch_size)
        (outcome,) = _checked([request], engine.finish(begun))
        if isinstance(outcome, Exception) and not isinstance(outcome, DamagedInput):
            raise outcome
        return outcome

    origin = None if failed_before else _frame
    return isolate_failures(
        requests, run, run_alone=run_alone, attempts=MAX_ATTEMPTS, origin=origin
    )


def _frame(request: Request) -> Hashable:
    """Digest of a request's clear image, which all variants of a frame share."""
    return hashlib.sha256(request.image.tobytes()).digest()


def _unless_it_fails(step: Callable[[], T]) -> T | None:
    try:
        return step()
    except Exception as error:  # some sample is at fault; `finish_batch` finds out which
        raise_if_it_ends_the_run(error)
        return None


def _checked(requests: Sequence[Request], outcomes: Sequence[Variant | Exception]) -> Outcomes:
    """Return the outcomes; raises DamagedInput if they do not match the requests."""
    if len(outcomes) != len(requests):
        raise DamagedInput(
            Reason.BAD_OUTPUT,
            f"the engine returned {len(outcomes)} results for {len(requests)} requests",
        )
    for request, outcome in zip(requests, outcomes, strict=True):
        if isinstance(outcome, Variant):
            _check_variant(request, outcome)
    return list(outcomes)


def _check_variant(request: Request, variant: Variant) -> None:
    if unknown := set(variant.physical) - PHYSICAL_NAMES:
        raise DamagedInput(
            Reason.BAD_OUTPUT, f"the physical values {sorted(unknown)} have no column"
        )
    if variant.image.dtype != np.uint8 or variant.image.shape != request.image.shape:
        raise DamagedInput(
            Reason.BAD_OUTPUT,
            f"the engine returned an image of {variant.image.dtype} {variant.image.shape}, "
            f"expected uint8 {request.image.shape}",
        )
