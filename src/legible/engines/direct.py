"""A lean decoding step for Llama-shaped blocks, over the model's own live weights.

A small model's step is largely overhead: modules, masks, copies of the cache. Here a step is the bare arithmetic over
keys and values that lie end to end, and a weight update needs no notice. `supports` says which models it may serve; all
others take `legible.engines.cached`. A test holds the two to the same logits.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from peft.tuners.lora.layer import Linear as LoraLinear
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
_GROWTH = 16  # positions added at a time
_Map = Callable[[Tensor], Tensor]


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
    """Decodes a supported model over its own keys and values, [rows * key heads, capacity, width] a block.

    The buffers are always read whole, the few positions not yet written masked, and grow by a copy every few steps.
    Skipping the unwritten part of a larger buffer would read less, in pieces, at a third of the speed on CPU.

    Args:
        model: one that `supports` accepts.
        cache: the prompts' keys and values, filled by `legible.engines.cached.extend`.
        index: which of the cache's rows each new row continues; rows may repeat (several samples of one prompt).
        room: tokens that will be written at most.
    """

    def __init__(self, model: nn.Module, cache: DynamicCache, index: Int[Tensor, " n"], room: int) -> None:
        self._begin(model, [(keys[index], values[index]) for keys, values in states(cache)], room)

    @classmethod
    def aligned(
        cls, model: nn.Module, layers: Sequence[tuple[Tensor, Tensor]], lengths: Int[Tensor, " n"], room: int
    ) -> "DirectStepper":
        """Rows whose prompts have different lengths and end together.

        Args:
            model: one that `supports` accepts.
            layers: keys and values of every block, each [rows, heads, longest, width]; what stands before a row's
                prompt is never read.
            lengths: of the prompts, in tokens.
            room: tokens that will be written at most.
        """
        self = cls.__new__(cls)
        self._begin(model, layers, room)
        pads = self.position - lengths
        if pads.any():
            self.pads = pads
            before = torch.arange(self.position, device=pads.device)[None] < pads[:, None]
            self.hidden = before.repeat_interleave(self.key_heads, 0)[:, None]
        return self

    def _begin(self, model: nn.Module, layers: Sequence[tuple[Tensor, Tensor]], room: int) -> None:
        causal = cast(Any, model)
        self.embed, self.head = causal.model.embed_tokens, _linear(causal.lm_head)
        self.norm = _norm(causal.model.norm)
        self.blocks = [_Block.of(layer) for layer in causal.model.layers]
        self.key_heads: int = causal.config.num_key_value_heads
        self.query_heads: int = causal.config.num_attention_heads
        attention = causal.model.layers[0].self_attn
        self.width: int = attention.head_dim
        self.position = layers[0][0].shape[2]
        self.keys = [keys.flatten(0, 1) for keys, _ in layers]
        self.values = [values.flatten(0, 1) for _, values in layers]
        self.pads: Tensor | None = None  # of every row, the places before its prompt
        self.hidden: Tensor | None = None  # the same as a mask, a row for each of its key heads
        self.cos, self.sin = self._rotation(causal.model.rotary_emb, self.position + room, attention.scaling)

    def step(self, tokens: Int[Tensor, " n"]) -> Float[Tensor, "n vocab"]:
        """Append one token to every row and return the logits of the next, float32."""
        if self.position == self.keys[0].shape[1]:
            room = self.keys[0].new_zeros(len(self.keys[0]), _GROWTH, self.width)
            self.keys = [torch.cat([keys, room], 1) for keys in self.keys]
            self.values = [torch.cat([values, room], 1) for values in self.values]
        stream = self.embed(tokens)
        for block, keys, values in zip(self.blocks, self.keys, self.values, strict=True):
            stream = block.join(stream, self._mix(block, block.before(stream), keys, values))
            x = block.between(stream)
            stream = block.down(stream, block.activate(block.gate(x)).mul_(block.up(x)))
        self.position += 1
        return self.head(self.norm(stream))

    def drop(self, holes: Int[Tensor, " k"], movers: Int[Tensor, " k"], n: int) -> None:
        """Move rows `movers` into the places `holes`; later steps bring only `n` rows."""
        for buffer in (*self.keys, *self.values):
            rows = buffer.view(-1, self.key_heads, *buffer.shape[1:])
            rows[holes] = rows[movers]
        self.keys = [keys[: n * self.key_heads] for keys in self.keys]
        self.values = [values[: n * self.key_heads] for values in self.values]
        if self.pads is not None and self.hidden is not None:
            rows = self.hidden.view(-1, self.key_heads, self.hidden.shape[-1])
            self.pads[holes], rows[holes] = self.pads[movers], rows[movers]
            self.pads, self.hidden = self.pads[:n], self.hidden[: n * self.key_heads]

    def _mix(self, block: "_Block", x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        n, t, heads = len(x), self.position, (self.query_heads, self.key_heads)
        q, k = block.q(x).view(n, heads[0], self.width), block.k(x).view(n, heads[1], self.width)
        both = torch.cat([block.q_norm(q), block.k_norm(k)], 1)
        place = t if self.pads is None else t - self.pads
        both = torch.addcmul(both * self.cos[place], both.roll(self.width // 2, -1), self.sin[place])
        keys.view(n, heads[1], -1, self.width)[:, :, t] = both[:, heads[0] :]
        values.view(n, heads[1], -1, self.width)[:, :, t] = block.v(x).view(n, heads[1], self.width)
        scores = torch.bmm(both[:, : heads[0]].reshape(len(keys), -1, self.width), keys.transpose(1, 2))
        scores[:, :, t + 1 :] = float("-inf")
        if self.hidden is not None:
            scores[:, :, : self.hidden.shape[-1]].masked_fill_(self.hidden, float("-inf"))
        return torch.bmm(scores.softmax(-1), values).view(n, -1)

    def _rotation(self, rotary: nn.Module, length: int, scaling: float) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines, [length, heads, width]; the queries' rows also carry the attention scale."""
        where = torch.arange(length, device=self.keys[0].device)[None]
        cos, sin = rotary(self.keys[0], position_ids=where)
        half = self.width // 2
        sin = torch.cat([-sin[..., :half], sin[..., half:]], -1)
        scale = torch.ones(self.query_heads + self.key_heads, 1, device=cos.device)
        scale[: self.query_heads] = scaling
        return cos[0, :, None] * scale, sin[0, :, None] * scale


class _Block(NamedTuple):
    """One block's maps, bound to the live weights."""

    before: _Map
    q: _Map
    k: _Map
    v: _Map
    q_norm: _Map
    k_norm: _Map
    join: Callable[[Tensor, Tensor], Tensor]
    between: _Map
    gate: _Map
    up: _Map
    activate: _Map
    down: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def of(cls, layer: Any) -> "_Block":
        attention, mlp = layer.self_attn, layer.mlp
        normed = hasattr(attention, "q_norm")  # Qwen3
        return cls(
            _norm(layer.input_layernorm),
            _linear(attention.q_proj),
            _linear(attention.k_proj),
            _linear(attention.v_proj),
            _norm(attention.q_norm) if normed else _same,
            _norm(attention.k_norm) if normed else _same,
            _onto(attention.o_proj),
            _norm(layer.post_attention_layernorm),
            _linear(mlp.gate_proj),
            _linear(mlp.up_proj),
            mlp.act_fn,
            _onto(mlp.down_proj),
        )


def _same(x: Tensor) -> Tensor:
    return x


def _norm(norm: Any) -> _Map:
    shape, weight, epsilon = norm.weight.shape, norm.weight, norm.variance_epsilon
    return lambda x: F.rms_norm(x, shape, weight, epsilon)


def _linear(linear: nn.Module) -> _Map:
    """The module's own call, spared where it is a plain linear map, with or without plain LoRA; others stay as put."""
    if type(linear) is nn.Linear:
        weight, bias = linear.weight, linear.bias
        return lambda x: F.linear(x, weight, bias)
    lora = _plain_lora(linear)
    if lora is None:
        return linear
    base, down, up = lora
    return lambda x: torch.addmm(F.linear(x, base.weight, base.bias), x @ down, up)


def _onto(linear: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """stream + linear(x), in one kernel where it is a plain linear map without bias, in three with plain LoRA."""
    if type(linear) is nn.Linear and linear.bias is None:
        turned = linear.weight.t()
        return lambda stream, x: torch.addmm(stream, x, turned)
    lora = _plain_lora(linear)
    if lora is None or lora[0].bias is not None:
        linear_map = _linear(linear)
        return lambda stream, x: stream + linear_map(x)
    base, down, up = lora
    whole = base.weight.t()
    return lambda stream, x: torch.addmm(torch.addmm(stream, x, whole), x @ down, up)


def _plain_lora(linear: nn.Module) -> tuple[nn.Linear, Tensor, Tensor] | None:
    """(base, A [in, r], B [r, out] with the scale in it) of an unmerged LoRA map of no variant; None for all else."""
    if type(linear) is not LoraLinear or linear.merged or linear.disable_adapters or linear.lora_variant:
        return None
    active, base = linear.active_adapters, linear.get_base_layer()
    if len(active) != 1 or type(base) is not nn.Linear or type(linear.lora_dropout[active[0]]) is not nn.Identity:
        return None
    (name,) = active
    down, up = linear.lora_A[name], linear.lora_B[name]
    if down.bias is not None or up.bias is not None:
        return None
    return base, down.weight.t(), up.weight.t() * linear.scaling[name]
