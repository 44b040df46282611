"""Captioning networks of a few thousand random weights, saved in the layout of the true ones."""

from pathlib import Path

import torch
from transformers import (
    AddedToken,
    BartConfig,
    BartTokenizer,
    BertTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    GPT2Tokenizer,
    OPTConfig,
)

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def save_blip2(folder: Path) -> Path:
    """ViT, Q-Former and OPT, with the image token that BLIP-2's tokenizer adds."""
    vocabulary = ["<pad>", "</s>", "<s>", "<unk>", *LETTERS, "Ġ"]
    tokenizer = GPT2Tokenizer(
        vocab={word: i for i, word in enumerate(vocabulary)},
        merges=[],
        unk_token="</s>",
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
    )
    image_token = AddedToken("<image>", normalized=False, special=True)
    tokenizer.add_tokens([image_token], special_tokens=True)
    text = OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        word_embed_proj_dim=16,
        ffn_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    config = Blip2Config(
        vision_config={**SMALL, "image_size": 28, "patch_size": 14},
        qformer_config={**SMALL, "encoder_hidden_size": 16, "vocab_size": 30},
        text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    images = BlipImageProcessor(size={"height": 28, "width": 28})
    _save(Blip2ForConditionalGeneration, config, folder)
    Blip2Processor(images, tokenizer, num_query_tokens=4).save_pretrained(folder)
    return folder


def save_blip(folder: Path) -> Path:
    """ViT and BERT as a decoder."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "car", "street", "bus"]
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate([*words, "[DEC]"])})
    config = BlipConfig(
        vision_config={**SMALL, "image_size": 32, "patch_size": 16},
        text_config={
            **SMALL,
            "vocab_size": len(words) + 1,
            "encoder_hidden_size": 16,
            "bos_token_id": len(words),
            "sep_token_id": 3,
            "eos_token_id": 3,
            "pad_token_id": 0,
            "max_position_embeddings": 64,
        },
    )
    _save(BlipForConditionalGeneration, config, folder)
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def save_florence2(folder: Path) -> Path:
    """DaViT and BART, with the image token that Florence-2's tokenizer knows."""
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *LETTERS, "Ġ", "?", "W"]
    tokenizer = BartTokenizer(
        vocab={word: i for i, word in enumerate(vocabulary)},
        merges=[],
        extra_special_tokens={"image_token": "<image>"},
    )
    text = BartConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=128,
    )
    vision = {
        "embed_dim": (8, 8, 8, 16),
        "depths": (1, 1, 1, 1),
        "num_heads": (1, 1, 1, 2),
        "num_groups": (1, 1, 1, 2),
        "window_size": 2,
        "projection_dim": 16,
        "drop_path_rate": 0.0,
    }
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    config = Florence2Config(
        text_config=text.to_dict(), vision_config=vision, image_token_id=image_token
    )
    _save(Florence2ForConditionalGeneration, config, folder)
    side = {"height": 64, "width": 64}
    images = CLIPImageProcessor(size=side, do_center_crop=False, crop_size=side)
    images.image_seq_length = (64 // 32) ** 2 + 1
    Florence2Processor(images, tokenizer, num_additional_image_tokens=1).save_pretrained(folder)
    return folder


def _save(kind: type, config: object, folder: Path) -> None:
    """Weights large enough that the words depend on the picture."""
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.5)
    model.save_pretrained(folder)
