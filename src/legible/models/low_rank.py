"""A trained role as low-rank differences from its target: what full fine-tuning changed, cut to a rank.

Of every linear map inside blocks the difference from the target's is kept to its `rank` largest singular values, as
LoRA over the target's weights; everything else that differs (norms, a head of its own) is kept whole. What the cut
costs is in the returned share, and in what the role then writes.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from legible.errors import UsageError
from legible.models.arch import Arch, LeftOut, sharing_copy, with_blocks
from legible.models.lora import StopRowHead, lora_config, merged_copy, put_lora
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
        The new role, and the share of the squared differences inside blocks that it keeps, in [0, 1].

    Raises:
        UsageError: a rank below 1, or a role of other shapes than the target's.
    """
    if rank < 1:
        raise UsageError(f"the rank is {rank}, expected at least 1.")
    if isinstance(role, Verbalizer):
        kept = sharing_copy(target.model) if role.blocks is None else with_blocks(target.model, role.blocks)
        share = _differ(kept, merged_copy(role.model, torch.float32), rank, target.name, role.prompt.stop_ids[0])
        parts = {"outputs": role.outputs, "injection_map": role.injection_map}
        given = (kept, target.tokenizer, role.prompt, role.injection)
        return Verbalizer(*given, over=target.name, blocks=role.blocks, **parts), share  # type: ignore[arg-type, return-value]
    base = kept_base(target, range(role.layer + 1) if role.blocks is None else role.blocks)
    share = _differ(base, merged_copy(role.backbone, torch.float32), rank, target.name)
    read = Reconstructor(
        base, role.value_head, target.tokenizer, role.prompt, over=target.name, layer=role.layer, blocks=role.blocks
    )
    return read, share  # type: ignore[return-value]


def _differ(kept: PreTrainedModel, trained: PreTrainedModel, rank: int, name: str, stop_id: int | None = None) -> float:
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
        down, up = _cut(delta.T if isinstance(module, Conv1D) else delta, rank)
        weights |= {f"{path}.lora_A.weight": down, f"{path}.lora_B.weight": up}
        total = float(delta.square().sum())
        whole, lost = whole + total, lost + max(0.0, total - float((up @ down).square().sum()))
    _keep_whole(kept, theirs, {f"{path}.weight" for path in maps}, name)
    _keep_head(kept, trained, stop_id)
    own = [parameter for parameter in kept.parameters() if parameter.requires_grad]
    if weights:
        paths = [key.removesuffix(".lora_A.weight") for key in weights if key.endswith(".lora_A.weight")]
        config = lora_config(kept, paths, rank=rank, alpha=rank)
        short = {path: len(weights[f"{path}.lora_A.weight"]) for path in paths}
        config.rank_pattern = {path: size for path, size in short.items() if size != rank}
        config.alpha_pattern = dict(config.rank_pattern)
        put_lora(kept, config, weights)
    for parameter in own:
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


def _keep_head(kept: PreTrainedModel, trained: PreTrainedModel, stop_id: int | None) -> None:
    """Give the copy the trained head where it differs, in place: whole, or the stop token's row where that is all."""
    head, other = kept.get_output_embeddings(), trained.get_output_embeddings()
    if head is None:
        return
    new = other.weight.detach().float()
    same_shape = new.shape == head.weight.shape
    rows = (new != head.weight.float()).any(1).nonzero()[:, 0].tolist() if same_shape else None
    if rows == []:
        return
    if rows == [stop_id] and stop_id is not None:
        stopping = StopRowHead(head, stop_id)
        stopping.delta.data = new[stop_id] - head.weight[stop_id].float()
        kept.set_output_embeddings(stopping)
        return
    head.weight, head.out_features = nn.Parameter(new.to(head.weight.dtype)), len(new)
    kept.config.tie_word_embeddings = False


def _counterpart(theirs: dict[str, nn.Parameter], path: str, old: Tensor, name: str) -> Tensor:
    found = theirs.get(path)
    if found is None or found.shape != old.shape:
        shown = "nothing" if found is None else str(tuple(found.shape))
        raise UsageError(
            f"the role holds {shown} where {name} has {path} of shape {tuple(old.shape)}: no difference from it.\n"
            "  Export it whole: --form merged"
        )
    return found.detach().float()


def _cut(delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(A [r, in], B [out, r]) with B A the best approximation of a difference [out, in] of at most this rank."""
    full = min(delta.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, values, right = torch.svd_lowrank(delta, q=min(full, rank + _OVERSAMPLED), niter=_SWEEPS)
    size = min(rank, full)
    root = values[:size].sqrt()
    return (right[:, :size] * root).T.contiguous(), (left[:, :size] * root).contiguous()
