"""The reconstructor (AR): blocks 0..K of the target read an explanation and return a vector.

The final norm is left out; a square head without bias, the identity at first, reads the stream at the last token.
Only the direction of the result means anything.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from legible.config import AUTO, Placement
from legible.errors import ContractError, UsageError
from legible.models.arch import FINAL_NORMS, Arch, leave_out_norm, norm_put_back, with_blocks
from legible.models.differences import check_kept, holds_differences, load_differences, needed, save_differences
from legible.models.loading import load_pretrained, load_tokenizer
from legible.models.lora import merged_copy
from legible.models.place import quietly
from legible.models.placement import trainable_copy
from legible.models.target import Target
from legible.prompts import ReconstructorPrompt, explanation_ids, plain_reconstructor_prompt

HEAD_FILE = "value_head.safetensors"


class Reconstructor(nn.Module):
    """A truncated base model, its head and its prompt. Dropout stays off in training too."""

    def __init__(
        self,
        backbone: PreTrainedModel,
        head: nn.Linear,
        tokenizer: PreTrainedTokenizerBase,
        prompt: ReconstructorPrompt,
        *,
        over: str | None = None,
        layer: int | None = None,
        blocks: Sequence[int] | None = None,
    ) -> None:
        """Take a base model whose final norm is left out (`Arch.truncated(..., copied=True)`).

        Args:
            backbone, head, tokenizer, prompt: what it is made of.
            over: the target whose weights it shares, by name; what does not train is that target's. Absent: its
                weights are all its own.
            layer: K, the layer whose stream it returns; absent: its last block's.
            blocks: the target's blocks that it keeps; absent: 0..K.
        """
        super().__init__()
        self.backbone = backbone
        self.value_head = head
        self.tokenizer = tokenizer
        self.prompt = prompt
        self.over = over
        self.layer: int = self.arch.n_layers - 1 if layer is None else layer
        self.blocks = tuple(blocks) if blocks is not None else None
        self.eval()

    @classmethod
    def from_target(cls, target: Target, layer: int, prompt: ReconstructorPrompt | None = None) -> "Reconstructor":
        """A trainable copy of the target's blocks 0..layer with an identity head.

        Raises:
            UsageError: the layer is out of range.
        """
        backbone = trainable_copy(target.arch.truncated(layer + 1)).requires_grad_(True)
        Arch.find(backbone).final_norm.requires_grad_(False)  # left out of the forward: it gets no gradient
        head = identity_head(target.d_model, target.device)
        return cls(backbone, head, target.tokenizer, prompt or plain_reconstructor_prompt(target.tokenizer))

    @classmethod
    def load(
        cls,
        path: str | Path,
        prompt: ReconstructorPrompt,
        *,
        target: Target | None = None,
        layer: int | None = None,
        blocks: Sequence[int] | None = None,
        place: Placement = AUTO,
    ) -> "Reconstructor":
        """Load a saved directory; prompt, layer and blocks come from its contract.

        Args:
            path: a whole model, or differences from the target.
            prompt: how it is asked.
            target: whose weights the differences are over; they are shared, and stay where they are.
            layer: K; needed for differences and with `blocks`, since the model does not say it.
            blocks: the target's blocks that it keeps; absent: 0..K.
            place: where a whole model goes, and how its weights are held.

        Raises:
            UsageError: no model or tokenizer there, pickle weights only, or differences without their target.
            ContractError: the head is missing, damaged or of another width, or differences from another target.
        """
        path, over = Path(path), None
        differs = holds_differences(path)
        target = needed(target, path) if differs else target
        if layer is None and (differs or blocks is not None):
            raise UsageError(f"{path} does not say which layer it reconstructs, and none was given.")
        if differs and target is not None:
            kept = range((layer or 0) + 1) if blocks is None else blocks
            backbone = kept_base(target, kept)
            tokenizer, over = target.tokenizer, target.name
        else:
            backbone = load_pretrained(AutoModel, str(path), place=place, may_lack=FINAL_NORMS)
            leave_out_norm(backbone)
            tokenizer = load_tokenizer(str(path), backbone)
            check_kept(path, backbone, blocks)
        load_differences(path, backbone, blocks)
        arch = Arch.find(backbone)
        head = identity_head(arch.d_model, arch.device)
        weight = _read_head(path / HEAD_FILE)
        if weight.shape != head.weight.shape:
            raise ContractError(
                f"{HEAD_FILE} holds a {tuple(weight.shape)} matrix, the model beside it expects "
                f"{tuple(head.weight.shape)}.\n"
                "  The usual cause is a head copied from another checkpoint."
            )
        head.load_state_dict({"weight": weight.float()})
        parts = {"over": over, "layer": layer if blocks is not None else None, "blocks": blocks}
        return cls(backbone, head, tokenizer, prompt, **parts)  # type: ignore[arg-type]

    def save(self, path: str | Path, *, dtype: torch.dtype = torch.float32, merged: bool = False) -> None:
        """Write a directory that `load` reads, the head in `value_head.safetensors`.

        Args:
            path: the directory.
            dtype: number format of the weights on disk.
            merged: write a model of its blocks (`num_hidden_layers: K+1` for 0..K) and its final norm, adapters merged,
                even where the target's weights are shared; else such a role leaves its differences from it alone.
        """
        path = Path(path)
        if self.over is not None and not merged:
            save_differences(path, self.backbone, self.over, self.blocks, {}, dtype)
        else:
            backbone = merged_copy(self.backbone, dtype)
            with norm_put_back(backbone), quietly():
                backbone.save_pretrained(path)
        self.tokenizer.save_pretrained(path)
        save_file({"weight": self.value_head.weight.detach().to(dtype).cpu().contiguous()}, path / HEAD_FILE)

    @property
    def arch(self) -> Arch:
        """The backbone's parts."""
        return Arch.find(self.backbone)

    @property
    def device(self) -> torch.device:
        """Where the weights are; inputs are moved there."""
        return self.value_head.weight.device

    def train(self, mode: bool = True) -> "Reconstructor":
        """Set the flag on this module only: dropout inside the backbone stays off."""
        self.training = mode
        self.backbone.eval()
        return self

    def forward(self, ids: Int[Tensor, "b l"], mask: Int[Tensor, "b l"]) -> Float[Tensor, "b d_model"]:
        """Reconstructed vectors, float32, of any length; gradients flow.

        Args:
            ids, mask: explanation tokens with right padding; the prompt is put around them here.
        """
        ids, mask, last = self._prompted(ids.to(self.device), mask.to(self.device))
        arch = self.arch
        hidden = arch.stream(arch.embed(ids), mask)
        return self.value_head(hidden[torch.arange(len(ids), device=ids.device), last].float())

    def encode(self, explanations: Sequence[str]) -> tuple[Int[Tensor, "n l"], Int[Tensor, "n l"]]:
        """Token ids and mask of explanations as `forward` takes them, right-padded."""
        rows = explanation_ids(self.tokenizer, explanations, self.prompt)
        width = max((len(row) for row in rows), default=0)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        return ids, mask

    @torch.no_grad()
    def reconstruct(self, explanations: Sequence[str], batch: int = 64) -> Float[Tensor, "n d_model"]:
        """Vectors of explanations, on the CPU; batched by length, returned in the order given."""
        out = torch.zeros(len(explanations), self.arch.d_model)
        order = sorted(range(len(explanations)), key=lambda i: len(explanations[i]))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            out[rows] = self(*self.encode([explanations[i] for i in rows])).cpu()
        return out

    def _prompted(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ids and mask with the prompt around every row, and the index of each row's last real token."""
        before, after = (ids.new_tensor(part) for part in (self.prompt.prefix_ids, self.prompt.suffix_ids))
        room = ids.new_zeros(len(ids), len(after))
        full = torch.cat([before.expand(len(ids), -1), ids * mask, room], 1)
        length = mask.sum(1) + len(before)
        place = length.unsqueeze(1) + torch.arange(len(after), device=ids.device)
        full = full.scatter(1, place, after.expand(len(ids), -1))
        last = length + len(after) - 1
        return full, (torch.arange(full.shape[1], device=ids.device) <= last.unsqueeze(1)).long(), last


def kept_base(target: Target, blocks: Sequence[int]) -> PreTrainedModel:
    """A sharing copy of the target's base model with these blocks alone, its final norm left out.

    Raises:
        UsageError: a block that the target does not have.
    """
    base = with_blocks(target.arch.base, blocks)
    leave_out_norm(base)
    return base


def identity_head(d_model: int, device: torch.device) -> nn.Linear:
    """A d_model x d_model map without bias, float32, that starts as the identity; draws nothing from the global RNG."""
    head = nn.utils.skip_init(nn.Linear, d_model, d_model, bias=False, device=device)
    nn.init.eye_(head.weight)
    return head


def _read_head(path: Path) -> Tensor:
    if not path.is_file():
        raise ContractError(
            f"no {HEAD_FILE} in {path.parent}: not a reconstructor.\n  Give the `ar` folder of a checkpoint."
        )
    try:
        return load_file(path)["weight"]
    except (SafetensorError, KeyError) as error:
        raise UsageError(f"{path} is damaged or holds no `weight` ({error}).\n  Copy the checkpoint again.") from error
