"""The gate of CLIP, on a tiny CLIPModel that transformers saved: the words that fit decide."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from nightrain.benchmarks.random_family import lively, tiny_vocabulary
from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.engines.base import Variant
from nightrain.pipelines.gates.built_in.clip import WORDS, ClipGate, clip_weights
from nightrain.pipelines.gates.built_in.network_settings import ClipSettings
from support.gating import verdict_of
from support.weather_street import request

SIDE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIPModel with random weights, and its tokenizer and image processor."""
    folder = tmp_path_factory.mktemp("clip")
    vocabulary, merges = tiny_vocabulary()
    ends = {"bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1}
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    shape |= {"num_attention_heads": 2}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=shape | ends | {"vocab_size": len(vocabulary)},
        vision_config=shape | {"image_size": SIDE, "patch_size": 16},
        projection_dim=16,
    )
    model = lively(CLIPModel(config))
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)  # type: ignore
    size = {"height": SIDE, "width": SIDE}
    images = CLIPImageProcessor(size=size, crop_size=size, do_center_crop=False)
    for part in (model, tokenizer, images):
        part.save_pretrained(folder)
    return folder


def test_the_margin_is_that_of_the_networks_own_logits(folder: Path) -> None:
    from transformers import CLIPProcessor

    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)
    found = ClipGate(clip_weights(str(folder), None)).log_probabilities(image)
    processor: Any = CLIPProcessor.from_pretrained(folder)
    inputs = processor(text=list(WORDS.values()), images=[image], return_tensors="pt", padding=True)
    with torch.no_grad():
        output = CLIPModel.from_pretrained(folder)(**inputs)
    cosine = torch.cosine_similarity(output.image_embeds, output.text_embeds)
    logits = (cosine * CLIPModel.from_pretrained(folder).logit_scale.exp()).detach().double()
    assert found == pytest.approx(torch.log_softmax(logits, 0).numpy(), abs=1e-4)
    assert np.exp(found).sum() == pytest.approx(1) and len(found) == len(Condition)


def test_the_condition_whose_words_fit_best_is_accepted(folder: Path) -> None:
    asked = request(Condition.FOG)
    image = Variant(image=asked.image)
    gate = ClipSettings(model=str(folder), least_margin=0.0)
    margins = {
        condition: verdict_of(gate, request(condition), image).scores["clip"]["margin"]
        for condition in Condition
    }
    assert sum(margin > 0 for margin in margins.values()) == 1
    for condition, margin in margins.items():
        rejected = verdict_of(gate, request(condition), image).codes
        assert rejected == ([] if margin > 0 else ["clip.another"])


def test_weights_that_are_not_there_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="without them, use the gate 'condition'"):
        ClipSettings(model=str(tmp_path / "none")).version()
    one, other = ClipSettings(model=str(folder)).version(), tmp_path / "other"
    CLIPModel(CLIPModel.from_pretrained(folder).config).save_pretrained(other)
    assert one != ClipSettings(model=str(other)).version()
    with pytest.raises(InvalidRequest, match="is not a CLIP model of transformers"):
        ClipSettings(model=str(other)).build()  # it has no tokenizer
