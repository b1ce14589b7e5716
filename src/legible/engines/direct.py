"""A lean decoding step for Llama-shaped blocks, over the model's own live weights.

A small model's step is largely overhead: modules, masks, copies of the cache. Here a step is the bare arithmetic
over buffers allocated once, and a weight update needs no notice. `supports` says which models it may serve; all
others take `legible.engines.cached`. A test holds the two to the same logits.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    LlamaForCausalLM,
    MistralForCausalLM,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
)

from legible.engines.cached import CachedStepper, states
from legible.engines.decode import Stepper

FAMILIES = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
_FIXED_ROTARY = ("default", "linear", "llama3", "yarn")  # tables that do not change with the length seen so far


def supports(model: nn.Module, length: int) -> bool:
    """Whether the direct step computes this model's own forward for sequences of up to `length` tokens.

    True for float32 models of exactly these classes: Llama, Mistral, Qwen2, Qwen3, adapters inside included, that
    carry no hooks, whose rotary tables are fixed and whose attention window, if any, does not bind.
    """
    if type(model) not in FAMILIES:
        return False
    config: Any = model.config
    window = config.to_dict().get("sliding_window")
    return (
        all(parameter.dtype == torch.float32 for parameter in model.parameters())
        and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        and config.rope_parameters["rope_type"] in _FIXED_ROTARY
        and (window is None or length <= window)
    )


def fastest_stepper(model: nn.Module, cache: DynamicCache, index: Int[Tensor, " n"], room: int) -> Stepper:
    """The direct stepper where it is supported, the family-generic one elsewhere; arguments as for both."""
    kind = DirectStepper if supports(model, cache.get_seq_length() + room) else CachedStepper
    return kind(model, cache, index, room)


class DirectStepper:
    """Decodes a supported model over preallocated keys and values, [slots * key heads, capacity, width] a block.

    Args:
        model: one that `supports` accepts.
        cache: the prompts' keys and values, filled by `legible.engines.cached.extend`.
        index: which of the cache's rows each new row continues; rows may repeat (several samples of one prompt).
        room: tokens that will be written at most.
    """

    def __init__(self, model: nn.Module, cache: DynamicCache, index: Int[Tensor, " n"], room: int) -> None:
        self.model = cast(Any, model)
        attention: Any = self.model.model.layers[0].self_attn
        self.key_heads: int = self.model.config.num_key_value_heads
        self.query_heads: int = self.model.config.num_attention_heads
        self.width: int = attention.head_dim
        self.position = cache.get_seq_length()
        capacity = self.position + room
        self.keys = [_spread(keys, index, capacity) for keys, _ in states(cache)]
        self.values = [_spread(values, index, capacity) for _, values in states(cache)]
        self.cos, self.sin = self._rotation(capacity, attention.scaling)

    def step(self, tokens: Int[Tensor, " n"]) -> Float[Tensor, "n vocab"]:
        """Append one token to every row and return the logits of the next, float32."""
        base = self.model.model
        stream = base.embed_tokens(tokens)
        for layer, keys, values in zip(base.layers, self.keys, self.values, strict=True):
            stream = self._attend(layer.self_attn, stream, _norm(layer.input_layernorm, stream), keys, values)
            mlp, x = layer.mlp, _norm(layer.post_attention_layernorm, stream)
            stream = _add(stream, mlp.act_fn(mlp.gate_proj(x)).mul_(mlp.up_proj(x)), mlp.down_proj)
        self.position += 1
        return self.model.lm_head(_norm(base.norm, stream))

    def drop(self, holes: Int[Tensor, " k"], movers: Int[Tensor, " k"], n: int) -> None:
        """Move rows `movers` into the places `holes`; later steps bring only `n` rows."""
        for buffer in (*self.keys, *self.values):
            slots = buffer.view(-1, self.key_heads, *buffer.shape[1:])[:, :, : self.position]
            slots[holes] = slots[movers]

    def _attend(self, attention: Any, stream: Tensor, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        n, t = len(x), self.position
        q = attention.q_proj(x).view(n, self.query_heads, self.width)
        k = attention.k_proj(x).view(n, self.key_heads, self.width)
        if hasattr(attention, "q_norm"):  # Qwen3
            q, k = _norm(attention.q_norm, q), _norm(attention.k_norm, k)
        both = torch.cat([q, k], 1)
        both = torch.addcmul(both * self.cos[t], both.roll(self.width // 2, -1), self.sin[t])
        live = n * self.key_heads
        keys[:live, t] = both[:, self.query_heads :].reshape(live, self.width)
        values[:live, t] = attention.v_proj(x).view(live, self.width)
        q = both[:, : self.query_heads].reshape(live, -1, self.width)
        weights = torch.bmm(q, keys[:live, : t + 1].transpose(1, 2)).softmax(-1)
        mixed = torch.bmm(weights, values[:live, : t + 1]).view(n, -1)
        return _add(stream, mixed, attention.o_proj)

    def _rotation(self, capacity: int, scaling: float) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines, [capacity, heads, width]; queries' tables also carry the attention scale."""
        where = torch.arange(capacity, device=self.keys[0].device)[None]
        cos, sin = self.model.model.rotary_emb(self.keys[0], position_ids=where)
        half = self.width // 2
        sin = torch.cat([-sin[..., :half], sin[..., half:]], -1)
        scale = torch.ones(self.query_heads + self.key_heads, 1, device=cos.device)
        scale[: self.query_heads] = scaling
        return cos[0, :, None] * scale, sin[0, :, None] * scale


def _norm(norm: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _add(stream: Tensor, x: Tensor, linear: nn.Module) -> Tensor:
    if type(linear) is nn.Linear and linear.bias is None:
        return torch.addmm(stream, x, linear.weight.t())
    return stream + linear(x)


def _spread(prefilled: Tensor, index: Tensor, capacity: int) -> Tensor:
    _, heads, length, width = prefilled.shape
    buffer = prefilled.new_empty(len(index), heads, capacity, width)
    buffer[:, :, :length] = prefilled[index]
    return buffer.view(len(index) * heads, capacity, width)
