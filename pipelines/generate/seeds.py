"""Seeds: requests whose variants gates reject are tried again with further seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from nightrain.datasets.conditions import Condition
from nightrain.datasets.ids import sample_seed
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.transaction import Rejected
from nightrain.pipelines.gates.rejected import seed_record
from nightrain.pipelines.generate.requests import PlannedRequest
from nightrain.pipelines.recipes.recipe import Recipe

Results = Iterator[tuple[PlannedRequest, Row | Rejected]]


def rows_of_seeds(
    planned: Iterable[PlannedRequest],
    kept: Mapping[str, Row],
    recipe: Recipe,
    condition: Condition,
    run: Callable[[Iterable[PlannedRequest]], Results],
) -> Iterator[Row | Rejected]:
    """Yield the rows of planned requests in order; `run` generates each request once.

    Requests whose variants the gates reject follow in the same order with their next seed, and so
    on; the variant of the last seed stays rejected. `kept` are rows of an interrupted run, which
    keep their places.
    """
    place: dict[str, int] = {}
    rounds: list[list[PlannedRequest]] = [[] for _ in range(recipe.gate_seeds)]

    def first() -> Iterator[PlannedRequest]:
        for one in planned:
            place[one.sample_id] = len(place)
            row = kept.get(one.sample_id)
            if row is None or row["seed_number"] == one.seed_number:
                yield one
                continue
            later = with_seed(one, row["seed_number"], recipe, condition)
            rounds[later.seed_number - one.seed_number].append(later)

    for number, later in enumerate(rounds):
        due = sorted(later, key=lambda one: place[one.sample_id]) if number else first()
        for one, row in run(due):
            record = seed_record(one.seed, row)
            if record is not None and number + 1 < len(rounds):
                later = with_seed(one, one.seed_number + 1, recipe, condition)
                rejected_seeds = (*one.rejected_seeds, record)
                rounds[number + 1].append(replace(later, rejected_seeds=rejected_seeds))
            else:
                yield row


def with_seed(
    planned: PlannedRequest, seed_number: int, recipe: Recipe, condition: Condition
) -> PlannedRequest:
    """Return the same request with another of its seeds; the severity stays."""
    names = planned.ref.frame_id, str(condition), recipe.seed, planned.variant_index
    return replace(planned, seed_number=seed_number, seed=sample_seed(*names, seed_number))
