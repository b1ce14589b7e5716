"""A trained role as low-rank differences from its target: what full fine-tuning changed, cut to a rank.

Of every linear map inside blocks the difference from the target's is kept to its `rank` largest singular values, as
LoRA over the target's weights, and so is that of a head of its own from the target's rows; everything else that differs
(norms, a token embedding) is kept whole. What the cut costs is in the returned share, and in what the role then writes.
"""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from legible.errors import UsageError
from legible.models.arch import Arch, LeftOut, sharing_copy, with_blocks
from legible.models.differences import rows_of
from legible.models.lora import LowRankHead, StopRowHead, lora_config, merged_copy, put_lora
from legible.models.reconstructor import Reconstructor, kept_base
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer

_OVERSAMPLED = 16  # further directions that the randomised decomposition looks at
_SWEEPS = 6

R = TypeVar("R", Verbalizer, Reconstructor)


@torch.no_grad()
def low_rank(role: R, target: Target, rank: int) -> tuple[R, float]:
    """The role over the target's weights, its differences cut to a rank.

    Args:
        role: any; left as it is.
        target: what it was trained from.
        rank: of each difference, at least 1.

    Returns:
        The new role, and the share of the squared differences of these maps that it keeps, in [0, 1].

    Raises:
        UsageError: a rank below 1, or a role of other shapes than the target's.
    """
    if rank < 1:
        raise UsageError(f"the rank is {rank}, expected at least 1.")
    if isinstance(role, Verbalizer):
        kept = sharing_copy(target.model) if role.blocks is None else with_blocks(target.model, role.blocks)
        trained = merged_copy(role.model, torch.float32)
        head = _Head(role.prompt.stop_ids[0], role.outputs.ids if role.outputs is not None else None)
        share = _differ(kept, trained, rank, target.name, head)
        parts = {"outputs": role.outputs, "injection_map": role.injection_map}
        given = (kept, target.tokenizer, role.prompt, role.injection)
        return Verbalizer(*given, over=target.name, blocks=role.blocks, **parts), share  # type: ignore[arg-type, return-value]
    base = kept_base(target, range(role.layer + 1) if role.blocks is None else role.blocks)
    share = _differ(base, merged_copy(role.backbone, torch.float32), rank, target.name)
    read = Reconstructor(
        base, role.value_head, target.tokenizer, role.prompt, over=target.name, layer=role.layer, blocks=role.blocks
    )
    return read, share  # type: ignore[return-value]


@dataclass(frozen=True)
class _Head:
    """What is known of a verbalizer's head: its stop token, and its token ids where it has a row for some only."""

    stop_id: int
    ids: Tensor | None


def _differ(kept: PreTrainedModel, trained: PreTrainedModel, rank: int, name: str, head: _Head | None = None) -> float:
    """Make a sharing copy of the target compute what the trained model does, in place; the share that is kept."""
    theirs, arch = dict(trained.named_parameters()), Arch.find(kept)
    inside = {id(module) for module in arch.blocks.modules()}
    maps = {p: m for p, m in kept.named_modules() if id(m) in inside and isinstance(m, nn.Linear | Conv1D)}
    weights: dict[str, Tensor] = {}
    lost, whole = 0.0, 0.0
    for path, module in maps.items():
        old, new = module.weight, _counterpart(theirs, f"{path}.weight", module.weight, name)
        delta = new - old.float()
        if not delta.any():
            continue
        (down, up), energy = _cut(delta.T if isinstance(module, Conv1D) else delta, rank)
        weights |= {f"{path}.lora_A.weight": down, f"{path}.lora_B.weight": up}
        whole, lost = whole + energy[0], lost + energy[1]
    _keep_whole(kept, theirs, {f"{path}.weight" for path in maps}, name)
    if head is not None:
        energy = _keep_head(kept, trained, head, rank)
        whole, lost = whole + energy[0], lost + energy[1]
    trainable = [parameter for parameter in kept.parameters() if parameter.requires_grad]
    if weights:
        paths = [key.removesuffix(".lora_A.weight") for key in weights if key.endswith(".lora_A.weight")]
        config = lora_config(kept, paths, rank=rank, alpha=rank)
        short = {path: len(weights[f"{path}.lora_A.weight"]) for path in paths}
        config.rank_pattern = {path: size for path, size in short.items() if size != rank}
        config.alpha_pattern = dict(config.rank_pattern)
        put_lora(kept, config, weights)
    for parameter in trainable:
        parameter.requires_grad_(True)  # LoRA froze them
    return 1.0 - lost / whole if whole else 1.0


def _keep_whole(kept: PreTrainedModel, theirs: dict[str, nn.Parameter], done: set[str], name: str) -> None:
    """Give the copy its own weights where anything but the head and the maps that are `done` differs, in place."""
    arch, head = Arch.find(kept), kept.get_output_embeddings()
    tied = head is not None and head.weight is arch.embedding.weight
    left_out = {id(p) for p in arch.final_norm.parameters()} if isinstance(arch.final_norm, LeftOut) else set()
    for path, old in list(kept.named_parameters()):
        where, _, leaf = path.rpartition(".")
        module = kept.get_submodule(where)
        if path in done or id(old) in left_out or module is head:
            continue
        new = _counterpart(theirs, path, old, name)
        if not torch.equal(new, old.float()):
            setattr(module, leaf, nn.Parameter(new.to(old.dtype)))
    if tied:
        head.weight = arch.embedding.weight


def _keep_head(kept: PreTrainedModel, trained: PreTrainedModel, known: _Head, rank: int) -> tuple[float, float]:
    """Change the copy's head where the trained one differs, in place: by the stop token's row where that is all.

    Returns:
        Squared difference, and what of it is lost.
    """
    head, new = rows_of(kept, known.ids), trained.get_output_embeddings().weight.detach().float()
    if new.shape != head.weight.shape:
        raise UsageError(
            f"a head of shape {tuple(new.shape)} is no difference from the target's {tuple(head.weight.shape)}.\n"
            "  Export it whole: --form merged"
        )
    delta = new - head.weight.detach().float()
    rows = delta.any(1).nonzero()[:, 0].tolist()
    if not rows and known.ids is None:
        return 0.0, 0.0
    kept.config.tie_word_embeddings = False
    if known.ids is None and rows == [known.stop_id]:
        stopping = StopRowHead(head, known.stop_id)
        stopping.delta.data = delta[known.stop_id]
        kept.set_output_embeddings(stopping)
        return 0.0, 0.0
    (down, up), energy = _cut(delta, rank)
    kept.set_output_embeddings(LowRankHead(head, down, up))
    return energy


def _counterpart(theirs: dict[str, nn.Parameter], path: str, old: Tensor, name: str) -> Tensor:
    counterpart = theirs.get(path)
    if counterpart is None or counterpart.shape != old.shape:
        shown = "nothing" if counterpart is None else str(tuple(counterpart.shape))
        raise UsageError(
            f"the role holds {shown} where {name} has {path} of shape {tuple(old.shape)}: no difference from it.\n"
            "  Export it whole: --form merged"
        )
    return counterpart.detach().float()


def _cut(delta: Tensor, rank: int) -> tuple[tuple[Tensor, Tensor], tuple[float, float]]:
    """A difference [out, in] as B A of at most this rank.

    Returns:
        (A [r, in], B [out, r]), then its squared size and what of it is lost.
    """
    full = min(delta.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, values, right = torch.svd_lowrank(delta, q=min(full, rank + _OVERSAMPLED), niter=_SWEEPS)
    size = min(rank, full)
    root = values[:size].sqrt()
    down, up = (right[:, :size] * root).T.contiguous(), (left[:, :size] * root).contiguous()
    return (down, up), (float(delta.square().sum()), float((delta - up @ down).square().sum()))
