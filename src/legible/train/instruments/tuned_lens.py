"""The tuned lens' affine map, fitted to the target's own next-token distributions at the tokens of other documents.

The loss is KL(target || lens). A fifth of the documents chooses among the states along the way, the untrained map (the
logit lens) among them, so that the file is never worse than that one on them.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from legible.data.batches import pad
from legible.engines.endings import ids_until
from legible.instruments.base import Rows, Setting
from legible.instruments.lens import head_logits
from legible.instruments.tuned_lens import KIND
from legible.models.target import Target
from legible.probes import files
from legible.stats import held_out_documents

STEPS, BATCH, LR = 400, 256, 3e-4
EVERY = 50  # steps between two looks at the held-out documents
HELD = 1024  # most held-out rows that are looked at
DOCUMENTS = 8  # in one forward pass


def train(
    setting: Setting, out: Path, progress: Callable[[int, int], None], *, steps: int = STEPS, batch: int = BATCH
) -> None:
    """Fit W and b by Adam and write them.

    Raises:
        UsageError: rows of fewer than two documents, or a store of another target.
    """
    assert setting.others is not None
    started, others, target = time.process_time(), setting.others, setting.target
    streams, finals = others.vectors.float(), final_streams(target, others)
    held = torch.from_numpy(held_out_documents(others.doc_ids, share=0.2, seed=setting.seed))
    kept, own = held.nonzero().flatten()[:HELD], (~held).nonzero().flatten()
    scale = float(streams.square().mean().sqrt())  # so that one learning rate fits streams of any length
    weight = torch.zeros(target.d_model, target.d_model, requires_grad=True)
    bias = torch.zeros(target.d_model, requires_grad=True)
    adam = torch.optim.Adam([weight, bias], lr=LR)
    rng = torch.Generator().manual_seed(setting.seed)

    def loss_of(rows: Tensor) -> Float[Tensor, ""]:
        h = streams[rows]
        return _kl(target, finals[rows], h + scale * (h / scale @ weight.T + bias))

    def held_loss() -> float:
        with torch.no_grad():
            parts = [(len(part), loss_of(part)) for part in kept.split(batch)]
        return float(sum(n * loss for n, loss in parts) / len(kept))

    first = held_loss()
    best, chosen = first, (weight.detach().clone(), bias.detach().clone(), 0)
    for step in range(steps):
        adam.param_groups[0]["lr"] = LR * (1 - step / steps)
        adam.zero_grad()
        loss_of(own[torch.randint(len(own), (min(batch, len(own)),), generator=rng)]).backward()  # type: ignore[no-untyped-call]
        adam.step()
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            if (now := held_loss()) < best:
                best, chosen = now, (weight.detach().clone(), bias.detach().clone(), step + 1)
            progress(step + 1, steps)
    about = {
        "layer": setting.layer,
        "texts": len(set(others.doc_ids)),
        "rows": len(others),
        "steps": chosen[2],
        "kl": best,
        "logit_lens_kl": first,
        "train_cpu_s": time.process_time() - started,
    }
    files.save(out, KIND, about, {"weight": chosen[0].contiguous(), "bias": (scale * chosen[1]).contiguous()})


def _kl(target: Target, final: Float[Tensor, "n d"], lens: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    with torch.no_grad():
        wanted = head_logits(target, final).log_softmax(-1)
    return F.kl_div(head_logits(target, lens).log_softmax(-1), wanted, log_target=True, reduction="batchmean")


@torch.no_grad()
def final_streams(target: Target, others: Rows) -> Float[Tensor, "n d_model"]:
    """The stream before the final norm at every row's token, from the documents run again.

    Raises:
        UsageError: the target's tokenizer does not give a row's token.
    """
    found, last = torch.empty(len(others), target.d_model), target.n_layers - 1
    of_document: dict[str, list[int]] = {}
    for place, row in enumerate(others.rows):
        of_document.setdefault(row.document.doc_id, []).append(place)
    groups = sorted(of_document.values(), key=lambda places: max(others.rows[place].pos for place in places))
    for start in range(0, len(groups), DOCUMENTS):
        part = groups[start : start + DOCUMENTS]
        longest = [max((others.rows[place] for place in places), key=lambda row: row.pos) for places in part]
        texts = [ids_until(target, row) for row in longest]
        ids, mask = pad(texts)
        streams = target.streams(ids, mask, (last,))[last].cpu()
        for number, places in enumerate(part):
            found[places] = streams[number, [others.rows[place].pos for place in places]]
    return found
