"""A tiny random model of every supported family, and a tokenizer of whole words."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BitNetConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from legible.models import Target

VOCAB, WIDTH, DEPTH = 48, 32, 3
SHAPE = {"vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 4}
IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
MLP = {"intermediate_size": 48, "max_position_embeddings": 64}
GROUPED = {"num_key_value_heads": 2}
EXPERTS = {"num_experts_per_tok": 2}

CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SHAPE, **IDS, **MLP, **GROUPED),
    "qwen2": Qwen2Config(
        **SHAPE, **IDS, **MLP, **GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1
    ),
    "qwen3": Qwen3Config(**SHAPE, **IDS, **MLP, **GROUPED, head_dim=8, tie_word_embeddings=True),
    "mistral": MistralConfig(**SHAPE, **IDS, **MLP, **GROUPED, sliding_window=4),
    "gemma3_text": Gemma3TextConfig(
        **SHAPE, **IDS, **MLP, **GROUPED, head_dim=8, sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "bitnet": BitNetConfig(**SHAPE, **IDS, **MLP, **GROUPED),
    "qwen3_moe": Qwen3MoeConfig(
        **SHAPE, **IDS, **MLP, **GROUPED, **EXPERTS, num_experts=4, moe_intermediate_size=24, head_dim=8
    ),
    "mixtral": MixtralConfig(**SHAPE, **IDS, **MLP, **GROUPED, **EXPERTS, num_local_experts=4),
    "gpt2": GPT2Config(vocab_size=VOCAB, n_embd=WIDTH, n_layer=DEPTH, n_head=4, n_positions=64, **IDS),
    "gpt_neox": GPTNeoXConfig(**SHAPE, **IDS, **MLP),
}  # fmt: skip


def words() -> PreTrainedTokenizerFast:
    """A tokenizer that knows `w0` to `w43`; a text begins with `<s>`."""
    vocab = {
        piece: i for i, piece in enumerate(["<s>", "</s>", "<pad>", "<unk>", *(f"w{i}" for i in range(VOCAB - 4))])
    }
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)


def tiny(family: str) -> Target:
    """A random model of a family, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIGS[family], attn_implementation="sdpa")
        with torch.no_grad():
            for parameter in model.parameters():  # larger than at initialisation: streams must differ between layers
                parameter.add_(torch.randn(parameter.shape) * 0.15)
    return Target(model, words(), family)
