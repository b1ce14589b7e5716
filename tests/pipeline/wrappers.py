"""Tiny random multimodal models, as they are published: a text tower of a supported family inside a wrapper."""

from pathlib import Path
from typing import Any

import torch
from families import VOCAB, WIDTH, words
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForImageTextToText,
    Gemma3Config,
    LlavaConfig,
    Mistral3Config,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2VLConfig,
    Qwen3VLConfig,
)

DEPTH = 3
TEXT: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
EYES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 16,
    "patch_size": 8, "num_channels": 3,
}  # fmt: skip
HEADS = {"head_dim": 8}
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}}
QWEN_EYES: dict[str, Any] = {"depth": 1, "num_heads": 2, "patch_size": 8}
QWEN_WIDER = {**QWEN_EYES, "hidden_size": 16, "intermediate_size": 16, "out_hidden_size": WIDTH}


def wrapped(kind: str, depth: int = DEPTH) -> PreTrainedConfig:
    """A wrapper's configuration with this many blocks in its text tower."""
    text = TEXT | {"num_hidden_layers": depth}
    made: dict[str, PreTrainedConfig] = {
        "gemma3": Gemma3Config(
            text_config={"model_type": "gemma3_text", "sliding_window": 4, **HEADS, **text},
            vision_config={"model_type": "siglip_vision_model", **EYES},
        ),
        "llava": LlavaConfig(
            text_config={"model_type": "llama", **text},
            vision_config={"model_type": "clip_vision_model", "projection_dim": 8, **EYES},
        ),
        "mistral3": Mistral3Config(
            text_config={"model_type": "mistral", **HEADS, **text},
            vision_config={"model_type": "pixtral", **HEADS, **EYES},
            tie_word_embeddings=False,
        ),
        "qwen2_vl": Qwen2VLConfig(
            text_config={**ROPE, **text}, vision_config={**QWEN_EYES, "embed_dim": 16, "hidden_size": WIDTH}
        ),
        "qwen2_5_vl": Qwen2_5_VLConfig(
            text_config={**ROPE, **text}, vision_config={**QWEN_WIDER, "fullatt_block_indexes": [0]}
        ),
        "qwen3_vl": Qwen3VLConfig(
            text_config={**ROPE, **HEADS, **text}, vision_config={**QWEN_WIDER, "deepstack_visual_indexes": [0]}
        ),
    }
    return made[kind]


KINDS = ("gemma3", "llava", "mistral3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def write_wrapper(kind: str, folder: Path, depth: int = DEPTH) -> PreTrainedModel:
    """A random wrapper in a folder of its own; returns it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(wrapped(kind, depth)).eval()
        with torch.no_grad():
            for parameter in model.parameters():  # larger than at initialisation: streams must differ between layers
                parameter.add_(torch.randn(parameter.shape) * 0.15)
    model.save_pretrained(folder)
    words().save_pretrained(folder)
    return model


def in_newer_names(folder: Path) -> None:
    """Rename the tower's weights as newer versions of transformers save them: `model.language_model.`."""
    weights = load_file(folder / "model.safetensors")

    def newer(name: str) -> str:
        name = name.removeprefix("language_model.") if name.startswith("language_model.lm_head") else name
        return name.replace("language_model.model.", "model.language_model.", 1)

    save_file({newer(name): w for name, w in weights.items()}, folder / "model.safetensors", {"format": "pt"})
