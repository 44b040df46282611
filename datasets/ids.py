"""Identifiers and seeds: digests of content names, independent of time, machine and run."""

import hashlib


def frame_id(source_dataset: str, source_id: str) -> str:
    """Frame identifier: 20 hex digits, equal in every run."""
    return _digest("frame", source_dataset, source_id).hex()[:20]


def sample_id(frame: str, condition: str, settings_hash: str, variant_index: int) -> str:
    """Variant identifier: 20 hex digits, equal in every run.

    `settings_hash` is the hash of the settings that decide the variant's bytes.
    """
    return _digest("variant", frame, condition, settings_hash, str(variant_index)).hex()[:20]


def sample_seed(
    frame: str, condition: str, recipe_seed: int, variant_index: int, seed_number: int = 0
) -> int:
    """Seed of a variant: a non-negative 63-bit integer (it fits an int64 column).

    It does not depend on the other settings of the recipe, so that a changed setting keeps each
    variant's severity and noise. Numbers above 0 are further seeds of the same variant.
    """
    names = ("seed", frame, condition, str(recipe_seed), str(variant_index))
    digest = _digest(*names, *((str(seed_number),) if seed_number else ()))
    return int.from_bytes(digest[:8], "big") >> 1


def _digest(*parts: str) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big"))  # "ab" + "c" is not "a" + "bc"
        digest.update(data)
    return digest.digest()
