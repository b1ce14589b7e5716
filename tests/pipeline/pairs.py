"""Twins of the published pairs: tiny, random, and laid out as those are. Their verbalizers have learned one sentence.

Each has its own family, chat template, marker and spelling of the sidecar; the target of the Gemma ones is a wrapper.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from legible.injection import Injection
from legible.models.verbalizer import Verbalizer
from legible.prompts import chat_verbalizer_prompt, completion_ids

WIDTH, DEPTH, LAYER, VOCAB = 32, 4, 2, 400
SAID = "A story about a cat in the rain."
AV_TEMPLATE = """You are a meticulous AI researcher conducting an investigation into activation vectors.

Here is the vector:

<concept>{injection_char}</concept>

Please provide an explanation."""
AR_TEMPLATE = "Summary of the following text: <text>{explanation}</text> <summary>"
TEXT = "The cat sat in the rain and waited for a long time. " * 8
CORPUS = [SAID, TEXT, AV_TEMPLATE, AR_TEMPLATE, "<explanation>\n", "</explanation>", "user\n", "model\n", "assistant\n"]

QWEN_CHAT = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    "<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA_CHAT = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LLAMA_CHAT = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 512,
}  # fmt: skip
GEMMA: dict[str, Any] = {
    **SHAPE, "head_dim": 8, "sliding_window": 16,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
}  # fmt: skip
EYES = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 16,
    "patch_size": 8, "model_type": "siglip_vision_model",
}  # fmt: skip


@dataclass(frozen=True)
class Twin:
    """One published pair, made small.

    name: what both repositories are called before -av and -ar; base: the target's.
    special: special tokens; the first is the start of a text where `starts`, the second its end.
    ends: what the verbalizer's generation_config.json calls ends, beside the tokenizer's own.
    av_keys, ar_keys: how the sidecars of the two spell what they say.
    wrapped: which of target, av, ar are multimodal wrappers.
    """

    name: str
    base: str
    config: PreTrainedConfig
    chat: str
    marker: str
    special: tuple[str, ...]
    starts: bool
    scale: float
    ends: tuple[str, ...]
    av_keys: Mapping[str, Any]
    ar_keys: Mapping[str, Any]
    wrapped: frozenset[str] = frozenset()
    shards: bool = False


NEW = {"schema_version": 2, "extraction_layer_index": LAYER}
TWINS = {
    "qwen": Twin(
        "kitft/nla-qwen2.5-7b-L20", "Qwen/Qwen2.5-7B-Instruct", Qwen2Config(**SHAPE, tie_word_embeddings=False),
        QWEN_CHAT, "㈎", ("<|endoftext|>", "<|im_end|>", "<|im_start|>"), False, 12.0, (),
        NEW, NEW | {"critic": {"extraction_layer_index": LAYER}}, shards=True,
    ),
    "gemma12": Twin(
        "kitft/nla-gemma3-12b-L32", "google/gemma-3-12b-it", Gemma3TextConfig(**GEMMA),
        GEMMA_CHAT, "㈜", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), True, 60.0, ("<end_of_turn>",),
        NEW, NEW | {"critic": {"extraction_layer_index": LAYER}}, frozenset({"target"}),
    ),
    "gemma27": Twin(
        "kitft/nla-gemma3-27b-L41", "google/gemma-3-27b-it", Gemma3TextConfig(**GEMMA),
        GEMMA_CHAT, "㈜", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), True, 60.0, ("<end_of_turn>",),
        {"schema_version": 1, "role": "actor"},
        {"schema_version": 1, "role": "critic", "critic": {"num_hidden_layers": LAYER}},
        frozenset({"target", "av", "ar"}),
    ),
    "llama": Twin(
        "kitft/Llama-3.3-70B-NLA-L53", "meta-llama/Llama-3.3-70B-Instruct", LlamaConfig(**SHAPE),
        LLAMA_CHAT, "㎡", ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"), True, 12.0,
        ("<|eot_id|>",), {}, {"ar": {"num_hidden_layers": LAYER}},
    ),
}  # fmt: skip


def tokenizer_of(twin: Twin) -> PreTrainedTokenizerFast:
    """Byte-level BPE in which the marker is one token of the vocabulary, as in the published ones."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - 16, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    inner.train_from_iterator([f"{twin.marker} " * 50, *CORPUS], trainer)
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in twin.special])
    start, end = twin.special[:2]
    if twin.starts:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, inner.token_to_id(start))]
        )
    names = {"bos_token": start} if twin.starts else {}
    found = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=end, pad_token=start, **names)
    found.chat_template = twin.chat
    return found


def write_twin(twin: Twin, root: Path) -> None:
    """The three repositories of a twin under `root`: OWNER/NAME-av, OWNER/NAME-ar and the target."""
    tokenizer = tokenizer_of(twin)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        target = AutoModelForCausalLM.from_config(twin.config).eval()
        with torch.no_grad():
            for parameter in target.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.1)
        _write(twin, "target", target, tokenizer, root / twin.base)
        _write(twin, "av", _taught(twin, target, tokenizer), tokenizer, root / f"{twin.name}-av")
        _write_reconstructor(twin, target, tokenizer, root / f"{twin.name}-ar")


def _taught(twin: Twin, target: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A copy of the target that has learned to say `SAID`, whatever the vector."""
    model = AutoModelForCausalLM.from_config(twin.config)
    model.load_state_dict(target.state_dict())
    prompt = chat_verbalizer_prompt(tokenizer, AV_TEMPLATE, twin.marker, *marker_ids(twin, tokenizer))
    taught = Verbalizer(model, tokenizer, prompt, Injection(scale=twin.scale))
    stop = tokenizer.convert_tokens_to_ids(twin.ends[0]) if twin.ends else prompt.stop_ids[0]
    (said,) = completion_ids(tokenizer, [SAID], prompt, 64)
    ids = torch.tensor([[*said[:-1], stop]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(120):
        optimizer.zero_grad()
        loss = -taught(torch.randn(1, WIDTH), ids, torch.ones_like(ids)).mean()
        loss.backward()
        optimizer.step()
        if loss < 0.01:
            break
    return model.eval()


def marker_ids(twin: Twin, tokenizer: PreTrainedTokenizerFast) -> tuple[int, int, int]:
    """The marker's id and those of its neighbours in the rendered prompt."""
    (marker,) = tokenizer.encode(twin.marker, add_special_tokens=False)
    content = AV_TEMPLATE.replace("{injection_char}", twin.marker)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    at = ids.index(marker)
    return marker, ids[at - 1], ids[at + 1]


def _sidecar(twin: Twin, role: str, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    marker, left, right = marker_ids(twin, tokenizer)
    suffix = tokenizer.encode("</text> <summary>", add_special_tokens=False)[1:]
    keys = twin.av_keys if role == "av" else twin.ar_keys
    older = keys.get("schema_version") == 1
    templates = {"actor": AV_TEMPLATE, "critic": AR_TEMPLATE} if older else {"av": AV_TEMPLATE, "ar": AR_TEMPLATE}
    return {
        "kind": "nla_model",
        "role": role,
        "stage": "rl",
        "base_checkpoint": twin.base,
        "d_model": WIDTH,
        "extraction": {"injection_scale": twin.scale if role == "av" else None, "mse_scale": WIDTH**0.5},
        "tokens": {
            "injection_char": twin.marker,
            "injection_token_id": marker,
            "injection_left_neighbor_id": left,
            "injection_right_neighbor_id": right,
            "critic_suffix_ids": suffix if role == "ar" else None,
        },
        "prompt_templates": templates if role == "ar" else {k: v for k, v in templates.items() if k in ("actor", "av")},
        "trained_on": ["texts"],
        "created_by": "nla.train_actor",
        **keys,
    }


def _write(twin: Twin, role: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """An ordinary causal LM folder, in bfloat16 as published, or the wrapper around it."""
    if role in twin.wrapped:
        model = _wrapped(model)
    model = model.to(torch.bfloat16)
    ends = [tokenizer.eos_token_id, *(tokenizer.convert_tokens_to_ids(token) for token in twin.ends)]
    model.generation_config.eos_token_id = list(dict.fromkeys(ends))
    model.save_pretrained(folder, max_shard_size="60KB" if twin.shards else "5GB")
    tokenizer.save_pretrained(folder)
    (folder / "training_args.bin").write_bytes(b"a pickle that nobody should take")
    save_file({"state": torch.zeros(64)}, folder / "optimizer.safetensors")
    if role == "av":
        _write_sidecar(folder, _sidecar(twin, "av", tokenizer))


def _wrapped(model: PreTrainedModel) -> PreTrainedModel:
    whole = Gemma3ForConditionalGeneration(Gemma3Config(text_config=model.config.to_dict(), vision_config=EYES))
    whole.model.language_model.load_state_dict(model.model.state_dict())
    return whole.eval()


def _write_reconstructor(twin: Twin, target: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Blocks 0..K without final norm and head, the square head beside them; the config says K + 1 blocks."""
    config = type(twin.config).from_dict(twin.config.to_dict())
    config.num_hidden_layers = LAYER + 1
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: LAYER + 1]
    config.architectures = [type(target).__name__]
    kept = {
        key: weight.to(torch.bfloat16)
        for key, weight in target.state_dict().items()
        if not key.startswith(("lm_head", "model.norm")) and not _beyond(key)
    }
    if "ar" in twin.wrapped:
        config = Gemma3Config(text_config=config.to_dict(), vision_config=EYES)
        config.architectures = ["Gemma3ForConditionalGeneration"]
        kept = {f"language_model.{key}": weight for key, weight in kept.items()}
    config.save_pretrained(folder)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    head = torch.eye(WIDTH) + 0.05 * torch.randn(WIDTH, WIDTH)
    save_file({"weight": head.to(torch.bfloat16)}, folder / "value_head.safetensors")
    tokenizer.save_pretrained(folder)
    _write_sidecar(folder, _sidecar(twin, "ar", tokenizer))


def _beyond(key: str) -> bool:
    parts = key.split(".")
    return "layers" in parts and int(parts[parts.index("layers") + 1]) > LAYER


def _write_sidecar(folder: Path, data: Mapping[str, Any]) -> None:
    (folder / "nla_meta.yaml").write_text(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True), "utf-8")
