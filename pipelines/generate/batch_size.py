"""Batch size of a recipe on a dataset: probed before the first variant, then pinned.

It is pinned per device model. The record of a folder of variants is that of the device that made
the first ones; each other device model has a record of its own next to it.
"""

import re
from collections.abc import Iterable

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import CorruptShard, NightrainError, RunFailure
from nightrain.datasets.registry import one_line
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.pinned import pin, pinned, unpin
from nightrain.pipelines.engines.base import Engine, Request
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs.batches import raise_if_it_ends_the_run

Facts = dict[str, str]


def pin_batch_size(
    manifest: Manifest,
    recipe: Recipe,
    condition: Condition,
    engine: Engine,
    requests: Iterable[Request],
) -> int:
    """Return a condition's batch size on this device model; the recipe's is the limit.

    The first process probes it on the first request and pins it in the manifest for later runs; if
    several run at once, the first to pin it wins. The size of another condition of the recipe is
    taken without probing. If there is no request, or the engine takes any batch size, nothing is
    pinned and the limit is returned. Raises CorruptShard if the record is damaged, RunFailure if
    the engine fails on the request.
    """
    device, name = engine.device_name(), _name(recipe, condition)
    facts = _pinned(manifest, name, device)
    if facts is None and (known := _of_another_condition(manifest, recipe, device)):
        facts = _pin(manifest, name, known | {"recipe_hash": recipe.hash_of(condition)})
    if facts is None:
        request = next(iter(requests), None)
        size = None if request is None else _probe(engine, request, recipe.batch_size)
        if request is None or size is None:
            return recipe.batch_size
        found = {
            "recipe_hash": recipe.hash_of(condition),
            "batch_size": str(size),
            "probed_pixels": f"{request.image.shape[1]}x{request.image.shape[0]}",
            "device": device,
        }
        facts = _pin(manifest, name, found)
    size = facts.get("batch_size", "")
    if not (size.isdecimal() and 1 <= int(size) <= recipe.batch_size):
        raise CorruptShard(
            f"The manifest pins the batch size {size!r:.20} for {name}; expected 1 to the "
            f"recipe's {recipe.batch_size}. Did another recipe of that name write the dataset?"
        )
    return int(size)


def unpin_batch_size(manifest: Manifest, recipe: Recipe, engine: Engine) -> None:
    """Forget the batch sizes of a recipe on this device model, so that they are probed again."""
    device = engine.device_name()
    for condition in recipe.conditions:
        for name in _names(_name(recipe, condition), device):
            if _is_of(pinned(manifest.root, name), device):
                unpin(manifest.root, name)


def _probe(engine: Engine, request: Request, limit: int) -> int | None:
    """Probe on one request; whatever fails there would fail every sample."""
    try:
        return engine.probe(request, limit)
    except NightrainError:
        raise
    except Exception as error:
        raise_if_it_ends_the_run(error)
        raise RunFailure(
            "The engine failed while its batch size was probed, so the run was ended: "
            f"{one_line(error)[:500]}"
        ) from error


def _name(recipe: Recipe, condition: Condition) -> str:
    return f"variants/{recipe.folder_of(condition)}"


def _names(name: str, device: str) -> tuple[str, str]:
    """Names of the records that may hold the size on a device: its own one, and the first."""
    return f"{name}.{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-') or 'device'}", name


def _pinned(manifest: Manifest, name: str, device: str) -> Facts | None:
    found = (pinned(manifest.root, one) for one in _names(name, device))
    return next((facts for facts in found if _is_of(facts, device)), None)


def _pin(manifest: Manifest, name: str, facts: Facts) -> Facts:
    """Pin in the folder's record, or in the device's own if the folder's is of another device."""
    device = facts["device"]
    own, first = _names(name, device)
    there = pin(manifest.root, first, facts)
    return there if _is_of(there, device) else pin(manifest.root, own, facts)


def _is_of(facts: Facts | None, device: str) -> bool:
    """Whether facts are of a device model; a record that was made anew may not name any."""
    return facts is not None and (facts.get("device") or device) == device


def _of_another_condition(manifest: Manifest, recipe: Recipe, device: str) -> Facts | None:
    """Pinned facts of any condition of the recipe; they share engine, size and limit."""
    found = (_pinned(manifest, _name(recipe, c), device) for c in recipe.conditions)
    facts = next(filter(None, found), None)
    return None if facts is None else facts | {"device": device}
