"""Where each supported family keeps its blocks, embeddings and final norm.

`Arch.find` reads them once from a model; everything else in Legible asks the `Arch`. A family that is not in
`FAMILIES` is refused: guessing attribute names would read the wrong stream in silence.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from legible.errors import UnsupportedModelError, UsageError

M = TypeVar("M", bound=nn.Module)
P = TypeVar("P", bound=PreTrainedModel)


@dataclass(frozen=True)
class Family:
    """Attribute names of a base model (the causal LM without its head)."""

    blocks: str = "layers"
    embedding: str = "embed_tokens"
    final_norm: str = "norm"


FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "qwen2": Family(),
    "qwen3": Family(),
    "mistral": Family(),
    "gemma3_text": Family(),
    "bitnet": Family(),
    "qwen3_moe": Family(),
    "mixtral": Family(),
    "gpt2": Family("h", "wte", "ln_f"),
    "gpt_neox": Family("layers", "embed_in", "final_layer_norm"),
}
"""transformers' `model_type` -> where things are."""

FINAL_NORMS = frozenset(family.final_norm for family in FAMILIES.values())
"""Names of final norms in base models; a reconstructor's weights may lack theirs."""


class LeftOut(nn.Module):
    """A final norm that the forward leaves out; its weights stay, so that the saved directory is an ordinary model."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, hidden: Tensor) -> Tensor:
        """The stream itself."""
        return hidden


@dataclass(frozen=True)
class Arch:
    """A model's parts by one name each. `base` is the causal LM without its head; blocks count from 0."""

    base: PreTrainedModel
    family: Family

    @classmethod
    def find(cls, model: PreTrainedModel) -> "Arch":
        """The parts of a causal LM or of its base model.

        Raises:
            UnsupportedModelError: a family that Legible does not know, with the list of those it does.
        """
        base = cast(PreTrainedModel, model.base_model)
        model_type = base.config.model_type
        family = FAMILIES.get(model_type)
        if family is None or not all(
            hasattr(base, name) for name in (family.blocks, family.embedding, family.final_norm)
        ):
            raise UnsupportedModelError(
                f"{type(model).__name__} (model_type {model_type!r}) is not a supported family.\n"
                f"  Supported: {', '.join(sorted(FAMILIES))}.\n"
                "  Use a causal LM of one of these; of a multimodal model around one its text tower is read."
            )
        return cls(base, family)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks; block K writes the stream of layer K."""
        return getattr(self.base, self.family.blocks)

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding; calling it gives what block 0 (or GPT-2's position sum) reads, scale included."""
        return getattr(self.base, self.family.embedding)

    @property
    def final_norm(self) -> nn.Module:
        """The norm between the last block and the head."""
        return getattr(self.base, self.family.final_norm)

    @property
    def embedding_scale(self) -> float:
        """What the embedding module multiplies its rows by: sqrt(d_model) in Gemma, 1 elsewhere."""
        return float(cast(Tensor, self.embedding.embed_scale)) if hasattr(self.embedding, "embed_scale") else 1.0

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.embedding.weight.shape[1])

    @property
    def device(self) -> torch.device:
        """Where tokens enter: inputs are moved there."""
        return self.embedding.weight.device

    def embed(self, ids: Int[Tensor, "b t"]) -> Float[Tensor, "b t d_model"]:
        """Token embeddings as `inputs_embeds` expects them, the family's scale included."""
        return self.embedding(ids)

    def stream(
        self, inputs_embeds: Float[Tensor, "b t d_model"], mask: Int[Tensor, "b t"]
    ) -> Float[Tensor, "b t d_model"]:
        """Last hidden states of a right-padded batch, without a cache; position ids are explicit for every family."""
        position_ids = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
        out = self.base(inputs_embeds=inputs_embeds, attention_mask=mask, position_ids=position_ids, use_cache=False)
        return out.last_hidden_state

    def truncated(self, n_blocks: int, *, copied: bool = False) -> PreTrainedModel:
        """The base model with blocks 0..n_blocks-1 and its final norm left out of the forward.

        Args:
            n_blocks: 1 to `n_layers`; K + 1 gives the stream of layer K as `last_hidden_state`.
            copied: own weights instead of shared ones.

        Returns:
            A model whose config says `num_hidden_layers: n_blocks` and whose final norm is a `LeftOut`.

        Raises:
            UsageError: `n_blocks` is out of range.
        """
        check_layer(n_blocks - 1, self.n_layers)
        view = copy.copy(self.base)
        view._modules = dict(self.base._modules)
        setattr(view, self.family.blocks, self.blocks[:n_blocks])
        view.config = kept_config(self.base.config, range(n_blocks))
        leave_out_norm(view)
        return copy.deepcopy(view) if copied else view

    @contextmanager
    def recording(self, layers: tuple[int, ...]) -> Iterator[dict[int, Tensor]]:
        """Collect the output of these blocks during the forwards inside the `with`; the last forward wins."""
        found: dict[int, Tensor] = {}

        def keep(layer: int, _module: nn.Module, _args: object, output: Tensor) -> None:
            found[layer] = output

        handles = [self.blocks[layer].register_forward_hook(partial(keep, layer)) for layer in layers]
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()


def leave_out_norm(base: PreTrainedModel) -> None:
    """Wrap the final norm of a base model in `LeftOut`, in place."""
    arch = Arch.find(base)
    setattr(base, arch.family.final_norm, LeftOut(arch.final_norm))


@contextmanager
def norm_put_back(base: PreTrainedModel) -> Iterator[None]:
    """Undo `leave_out_norm` inside the `with`: for saving."""
    arch = Arch.find(base)
    left_out = arch.final_norm
    assert isinstance(left_out, LeftOut)
    setattr(base, arch.family.final_norm, left_out.norm)
    try:
        yield
    finally:
        setattr(base, arch.family.final_norm, left_out)


def kept_config(config: PreTrainedConfig, blocks: Sequence[int]) -> PreTrainedConfig:
    """A copy for a model of these blocks alone, its per-layer lists to match.

    Raises:
        UnsupportedModelError: a mixture of experts whose blocks differ by their number's remainder.
    """
    first = list(blocks) == list(range(len(blocks)))
    if not first and getattr(config, "decoder_sparse_step", 1) != 1:
        raise UnsupportedModelError(
            f"decoder_sparse_step is {config.decoder_sparse_step}: which blocks hold experts goes by their number, so "
            "no blocks can be left out in between.\n  Keep the first ones, or all."
        )
    cut = copy.deepcopy(config)
    if getattr(cut, "layer_types", None):
        cut.layer_types = [cut.layer_types[block] for block in blocks]
    if getattr(cut, "mlp_only_layers", None):
        cut.mlp_only_layers = [place for place, block in enumerate(blocks) if block in cut.mlp_only_layers]
    cut.num_hidden_layers = len(blocks)
    return cut


def with_blocks(model: P, blocks: Sequence[int]) -> P:
    """A sharing copy of a causal LM or base model that keeps these of its blocks alone, counted from 0 in it anew.

    Raises:
        UsageError: a block that the model does not have.
    """
    check_blocks(blocks, Arch.find(model).n_layers)
    kept = sharing_copy(model)
    arch = Arch.find(kept)
    setattr(arch.base, arch.family.blocks, nn.ModuleList(arch.blocks[block] for block in blocks))
    for place, block in enumerate(arch.blocks):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = place  # type: ignore[assignment]  # its place in a cache
    kept.config = arch.base.config = kept_config(model.config, blocks)
    return kept


def check_blocks(blocks: Sequence[int], n_layers: int, what: str = "the blocks to keep") -> None:
    """Refuse blocks that the model does not have.

    Raises:
        UsageError: none, one out of range, twice or out of order.
    """
    if not blocks or list(blocks) != sorted(set(blocks)) or blocks[0] < 0 or blocks[-1] >= n_layers:
        raise UsageError(
            f"{what} are {list(blocks)}: expected some of 0 to {n_layers - 1}, each once, in ascending order.\n"
            "  Blocks count from 0. The first and the last ones of a model serve a small reader well."
        )


def sharing_copy(module: M, *, frozen_only: bool = False, detached: bool = False) -> M:
    """A copy of the module tree over the same parameters and buffers: what is put into it leaves the original alone.

    Args:
        frozen_only: share only parameters that do not train and copy the others; for a reference policy.
        detached: share the numbers of parameters, not the parameters: freezing the copy leaves the original trainable.
    """
    shared = [p for p in module.parameters() if not (frozen_only and p.requires_grad)]
    states = [
        m.state for m in module.modules() if type(m).__name__ == "Linear8bitLt"
    ]  # its weights, moved on first use
    memo: dict[int, object] = {id(one): one for one in (*shared, *module.buffers(), *states)}
    if detached:
        memo |= {id(one): nn.Parameter(one.detach(), requires_grad=False) for one in shared}
    return copy.deepcopy(module, memo)


def check_rows(ids: Iterable[int], model: PreTrainedModel, name: str) -> None:
    """Refuse token ids past the rows of the model's embedding.

    Raises:
        UsageError: there is such an id.
    """
    rows = Arch.find(model).embedding.num_embeddings
    if (highest := max(ids, default=0)) >= rows:
        raise UsageError(
            f"token id {highest} of {name} is past the model's embedding: the tokenizer has at least {highest + 1} "
            f"tokens, the embedding {rows} rows.\n"
            "  The usual cause is the tokenizer of another model, or a token added without resize_token_embeddings.\n"
            "  Copy the tokenizer that belongs to these weights."
        )


def check_layer(layer: int, n_layers: int) -> None:
    """Refuse a layer that the model does not have.

    Raises:
        UsageError: `layer` is not in 0..n_layers-1.
    """
    if not 0 <= layer < n_layers:
        raise UsageError(
            f"layer {layer} is out of range: the model has blocks 0 to {n_layers - 1}.\n"
            "  Layer K is the residual stream after block K, counted from 0. Choose another with --layer."
        )
