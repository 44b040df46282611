"""Batch size of a recipe on a dataset: probed before the first variant, then pinned."""

from collections.abc import Iterable

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.pinned import pin, pinned
from nightrain.pipelines.engines.base import Engine, Request
from nightrain.pipelines.recipes.recipe import Recipe


def pin_batch_size(
    manifest: Manifest,
    recipe: Recipe,
    condition: Condition,
    engine: Engine,
    requests: Iterable[Request],
) -> int:
    """Return a condition's batch size in this and every later run; the recipe's is the limit.

    The first process probes it on the first request and pins it in the manifest; if several run at
    once, the first to pin it wins. The size of another condition of the recipe is taken without
    probing. If there is no request, or the engine takes any batch size, nothing is pinned and the
    limit is returned. Raises CorruptShard if the record is damaged.
    """
    name = f"variants/{recipe.folder_of(condition)}"
    facts = pinned(manifest.root, name)
    if facts is None and (known := _of_another_condition(manifest, recipe)):
        facts = pin(manifest.root, name, known | {"recipe_hash": recipe.hash_of(condition)})
    if facts is None:
        request = next(iter(requests), None)
        if request is None:
            return recipe.batch_size
        size = engine.probe(request, recipe.batch_size)
        if size is None:
            return recipe.batch_size
        found = {
            "recipe_hash": recipe.hash_of(condition),
            "batch_size": str(size),
            "probed_pixels": f"{request.image.shape[1]}x{request.image.shape[0]}",
            "device": engine.device_name(),
        }
        facts = pin(manifest.root, name, found)
    size = facts.get("batch_size", "")
    if not (size.isdecimal() and 1 <= int(size) <= recipe.batch_size):
        raise CorruptShard(
            f"The manifest pins the batch size {size!r:.20} for {name}; expected 1 to the "
            f"recipe's {recipe.batch_size}. Did another recipe of that name write the dataset?"
        )
    return int(size)


def _of_another_condition(manifest: Manifest, recipe: Recipe) -> dict[str, str] | None:
    """Pinned facts of any condition of the recipe; they share engine, size and limit."""
    found = (pinned(manifest.root, f"variants/{recipe.folder_of(c)}") for c in recipe.conditions)
    return next(filter(None, found), None)
