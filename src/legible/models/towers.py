"""Multimodal wrappers, read in their text tower: an ordinary causal LM whose weights lie in the wrapper's files.

Only those weights are loaded, so that images and sound cost no memory, and what is saved is a plain text model.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from legible.errors import UnsupportedModelError
from legible.models.arch import FAMILIES

TWINS = {"qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3"}
"""Text towers that compute what a supported family does wherever there is no image: model_type -> that family's."""

_WEIGHTS = {
    r"^(model\.)?language_model\.model\.": "model.",
    r"^model\.language_model\.": "model.",
    r"^language_model\.lm_head": "lm_head",
}
"""Names of the tower's weights in the files of wrappers, older and newer -> names in a causal LM."""


def text_tower(folder: Path, options: Mapping[str, object]) -> dict[str, Any]:
    """What `from_pretrained` must be given besides the folder, so that it loads the text tower of a wrapper.

    Args:
        folder: the model's.
        options: of transformers.

    Returns:
        Empty for a model that is no wrapper.

    Raises:
        UnsupportedModelError: a wrapper around a text tower that is of no supported family.
    """
    config: Any = AutoConfig.from_pretrained(folder, **options)
    text = getattr(config, "text_config", None)
    if not isinstance(text, PreTrainedConfig):
        return {}
    family = TWINS.get(text.model_type, text.model_type)
    if family not in FAMILIES:
        raise UnsupportedModelError(
            f"{folder} (model_type {config.model_type!r}) is multimodal, and its text tower (model_type "
            f"{text.model_type!r}) is not of a supported family.\n"
            f"  Supported: {', '.join(sorted((*FAMILIES, *TWINS)))}."
        )
    tower = copy.deepcopy(text) if family == text.model_type else _as_family(text, family)
    tower.tie_word_embeddings = config.tie_word_embeddings  # the wrapper's is the one that transformers follows
    if (ends := config.to_diff_dict().get("eos_token_id")) is not None:
        tower.eos_token_id = ends
    return {"config": tower, "key_mapping": _WEIGHTS}


def _as_family(text: PreTrainedConfig, family: str) -> PreTrainedConfig:
    """The configuration under a family's name, without the sections of its rotary positions: text has one position."""
    plain = {key: value for key, value in text.to_dict().items() if key != "model_type"}
    rope = plain.get("rope_parameters") or {}
    plain["rope_parameters"] = {key: value for key, value in rope.items() if not key.startswith("mrope")}
    return AutoConfig.for_model(family, **plain)
