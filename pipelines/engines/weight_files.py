"""Weight files of a model's parts, plain or of a variant: model.fp16-00001-of-00002.safetensors."""

import re
from collections.abc import Sequence

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.regular import matching
from nightrain.depthmodel.weights import Found

TOKENIZERS = "*.[jtm][ixo]*"  # .jinja, .txt, .model, .tiktoken
NUMBER = re.compile(r"-\d{5}-of-\d{5}$")


def require_weight_files(model: Found, parts: Sequence[str], variant: str | None) -> None:
    """Raise InvalidRequest unless every part has safetensors files, plain or of the variant.

    A variant must exist for at least one part, as in diffusers.
    """
    held = {part: _variants(model, part) for part in parts}
    for part, variants in held.items():
        if not variants:
            raise InvalidRequest(
                f"{model.name} has no .safetensors weights in {part}/; other formats can run code "
                "and are not loaded. Use a copy of the model that has them."
            )
        if not variants & {variant, None}:
            others = sorted(filter(None, variants))
            wanted = f"variant {variant!r}" if variant else "full precision"
            raise InvalidRequest(
                f"{model.name} has no weights of {wanted} in {part}/, only those of "
                f"{', '.join(others)}. Set `variant: {others[0]}`."
            )
    if variant and parts and not any(variant in variants for variants in held.values()):
        raise InvalidRequest(
            f"{model.name} has no weights of variant {variant!r}. Leave `variant` out."
        )


def own_variant(model: Found, variant: str | None) -> str | None:
    """Return the variant if a model of one part has files of it, else None."""
    return variant if variant in _variants(model, "") else None


def weight_patterns(variant: str | None) -> list[str]:
    """File patterns of the weights of one part, and of their index."""
    suffix = f".{variant}" if variant else ""
    return [
        f"*model{suffix}.safetensors",
        f"*model{suffix}-?????-of-?????.safetensors",
        f"*.safetensors.index{suffix}.json",
    ]


def pipeline_patterns(variant: str | None) -> list[str]:
    """File patterns of a model of several parts, each in a folder of its own.

    Copies of the weights in other formats and in the model's top folder are left out. They are few,
    because the advice on how to download a model spells them out.
    """
    weights = weight_patterns(variant)[:2]  # "*.json" covers the index
    return ["*.json", TOKENIZERS, *(f"*/{name}" for name in weights)]


def _variants(model: Found, part: str) -> set[str | None]:
    """Variants of a part's weight files; None is the plain one."""
    files = matching(model.folder / part, "*.safetensors")
    stems = (NUMBER.sub("", path.name.removesuffix(".safetensors")) for path in files)
    return {stem.partition(".")[2] or None for stem in stems}
