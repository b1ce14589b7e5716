"""The sparse autoencoder's training: reconstruct activations from few latents, and revive those that fell silent.

Inputs are scaled, so that their spread about the mean is 1 per dimension, and centred by b_dec, which starts at the
mean; the scale is folded in at the end. Decoder rows keep length 1. The loss is the share of the variance that is
missed, and

    topk      + AUX · the share of the remaining error that the strongest silent latents miss when they alone explain it
    jumprelu  the same + SPARSITY · (mean L0 / k − 1)²

Thresholds learn through a straight-through estimator, a rectangle of width BANDWIDTH about each; they start where the
first rows have k active latents. Afterwards the latents are labelled, if there is a language.

Source: Gao et al. (arXiv 2406.04093), appendix A.2, for silent latents; Rajamanoharan et al. (arXiv 2407.14435) for
JumpReLU, and for the quadratic penalty, here on the batch's mean.
"""

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from legible.config import OptimizerConfig, SAEConfig
from legible.errors import UsageError
from legible.identity import STATE
from legible.instruments.autoencoder import ROWS, Autoencoder
from legible.instruments.autoencoder_files import write_autoencoder
from legible.instruments.base import Rows, Setting
from legible.instruments.latent_labels import FILE, Label, active, as_json, labels_of
from legible.instruments.sae import load_fitting
from legible.stats import held_out_documents
from legible.train.loop import Loop, Metrics, generator
from legible.train.optim import RoleOptimizer

AUX = 1 / 32
SPARSITY = 1.0
BANDWIDTH = 0.1  # in units of the scaled input's spread
SILENT = 100  # steps without activity after which a latent counts as silent
HELD = 0.1  # share of the documents that the figures are measured on
LABELLED = 20_000  # most rows whose facts are looked up for the labels
SEEN = 200_000  # most rows on which a latent may show that it is alive
TEXTS, LETTERS = 5, 80  # kept of each latent: texts where it is most active, and the last letters of each


def train(setting: Setting, out: Path, progress: Callable[[int, int], None]) -> None:
    """Train on the rows of `setting.others`, or label `config.start`, and write a SAELens folder with `labels.json`.

    A killed training goes on where it stood, from a state beside `out`.

    Raises:
        UsageError: fewer latents than `k`, rows of one document alone, or a `start` of another model.
    """
    assert setting.others is not None
    config, others, started = setting.config.sae, setting.others, time.process_time()
    held = held_out_documents(others.doc_ids, share=HELD, seed=setting.seed)
    if config.start is not None:
        sae, spent = load_fitting(Path(config.start), setting.target, setting.layer).sae, time.process_time() - started
    else:
        _check(config, setting.target.d_model)
        sae, spent = _trained(setting, config, others.vectors[torch.from_numpy(~held)], out)
    labels, texts, labelled = _known(setting, sae, others, progress)
    about = {
        **figures(sae, others.vectors[torch.from_numpy(held)], others.vectors),
        "rows": len(others), "texts": len(set(others.doc_ids)), "labels": labelled,
        "language": setting.language.name if setting.language is not None else None,
        "seed": setting.seed, "config": config.model_dump(), "train_cpu_s": spent,
    }  # fmt: skip
    write_autoencoder(
        out, sae, layer=setting.layer, model=setting.target.name, about=about, beside={FILE: as_json(labels, texts)}
    )
    _state(out).unlink(missing_ok=True)
    print(
        f"sae: FVE of raw activations {about['fve']:.3f}, L0 {about['l0']:.1f} (held-out rows), "
        f"dead latents {about['dead']:.1%}, {spent:.0f} CPU s to train",
        file=sys.stderr,
    )


@torch.no_grad()
def figures(sae: Autoencoder, held: Float[Tensor, "n d_model"], seen: Float[Tensor, "m d_model"]) -> dict[str, Any]:
    """How good it is: `fve` of raw variance and `l0` on held-out rows, `dead` share on the rows seen.

    fve is 1 − Σ‖x − x'‖² / Σ‖x − mean x‖², the mean over the same rows; a latent is dead that is active on none of the
    first `SEEN` rows; `norm` is the mean length of a held-out row.
    """
    missed, n_active, total = 0.0, 0, float((held - held.mean(0)).double().square().sum())
    for x in held.split(ROWS):
        z = sae.encode(x)
        missed += float((x - sae.decode(z)).double().square().sum())
        n_active += int((z > 0).sum())
    alive = torch.zeros(sae.n_latents, dtype=torch.bool)
    for x in seen[:SEEN].split(ROWS):
        alive |= (sae.encode(x) > 0).any(0)
    return {
        "fve": 1 - missed / max(total, 1e-12), "l0": n_active / len(held), "dead": 1 - float(alive.float().mean()),
        "norm": float(held.norm(dim=-1).mean()), "held_out_rows": len(held), "seen_rows": min(len(seen), SEEN),
    }  # fmt: skip


def initial(x: Float[Tensor, "n d_model"], config: SAEConfig, seed: int) -> Autoencoder:
    """Random unit rows, the encoder their transpose, b_dec the mean of scaled rows; thresholds as the module says."""
    rows = torch.randn(config.width * x.shape[1], x.shape[1], generator=generator(seed, "sae rows"))
    rows /= rows.norm(dim=-1, keepdim=True)
    jump = config.kind == "jumprelu"
    sae = Autoencoder(
        rows.T.contiguous(), torch.zeros(len(rows)), rows, x.mean(0),
        k=None if jump else config.k, threshold=torch.zeros(len(rows)) if jump else None,
    )  # fmt: skip
    if sae.threshold is not None:
        with torch.no_grad():
            before = sae.before(x[:ROWS])
            sae.threshold.copy_(torch.quantile(before, 1 - config.k / len(rows), dim=0).relu())
    return sae


def loss_of(
    sae: Autoencoder, x: Float[Tensor, "n d_model"], silent: Int[Tensor, " n_latents"], k: int
) -> tuple[Float[Tensor, ""], Metrics, Tensor]:
    """The loss of scaled rows.

    Args:
        sae: trained on scaled rows.
        x: a batch.
        silent: steps since each latent was last active.
        k: as in the configuration.

    Returns:
        The loss, what to log, and which latents were active.
    """
    before = sae.before(x)
    z = sae.gate(before)
    firing = z > 0
    l0 = firing.float().sum(-1).mean()
    loss = torch.zeros(())
    if sae.threshold is not None:
        near = through(before, sae.threshold)
        z = z + sae.threshold.detach() * near
        loss = SPARSITY * ((l0 + near.sum(-1).mean()) / k - 1).square()
    error = x - sae.decode(z)
    variance = (x - x.mean(0)).square().sum().clamp(min=1e-12)
    missed = error.square().sum() / variance
    dead = silent >= SILENT
    metrics: Metrics = {"missed": float(missed.detach()), "l0": float(l0), "silent": int(dead.sum())}
    loss = loss + missed + AUX * _aux(sae, before, error.detach(), dead)
    return loss, metrics, firing.any(0)


def through(before: Float[Tensor, "n n_latents"], threshold: Float[Tensor, " n_latents"]) -> Tensor:
    """Zero everywhere; its gradient for the threshold is that of a step there, −1/BANDWIDTH in a rectangle about it."""
    inside = ((before - threshold).abs() < BANDWIDTH / 2).float().detach() / BANDWIDTH
    return inside * (threshold.detach() - threshold)


def _aux(sae: Autoencoder, before: Tensor, error: Tensor, dead: Tensor) -> Tensor:
    """The share of the error that the strongest silent latents, half as many as dimensions, leave unexplained."""
    count = min(int(dead.sum()), max(1, error.shape[1] // 2))
    if not count:
        return torch.zeros(())
    values, places = before.masked_fill(~dead, -torch.inf).topk(count, dim=-1)
    guess = torch.zeros_like(before).scatter(-1, places, values.relu()) @ sae.W_dec
    variance = (error - error.mean(0)).square().sum().clamp(min=1e-12)
    return (error - guess).square().sum() / variance


def _trained(
    setting: Setting, config: SAEConfig, x: Float[Tensor, "n d_model"], out: Path
) -> tuple[Autoencoder, float]:
    """The autoencoder for raw activations, and the CPU seconds of its training, those before a kill included."""
    scale = float((x - x.mean(0)).square().mean().sqrt().clamp(min=1e-12))
    sae = initial(x / scale, config, setting.seed)
    optimizer = RoleOptimizer(sae, OptimizerConfig(lr=config.lr, warmup=min(20, config.steps // 10)), config.steps)
    memory: dict[str, Any] = {"silent": [0] * sae.n_latents, "cpu_s": 0.0}

    def step(index: int) -> Metrics:
        started = time.process_time()
        rows = torch.randint(len(x), (config.batch,), generator=generator(setting.seed, "sae batch", index))
        silent = torch.tensor(memory["silent"])
        loss, metrics, firing = loss_of(sae, x[rows] / scale, silent, config.k)
        loss.backward()  # type: ignore[no-untyped-call]
        _keep_lengths(sae)
        optimizer.step(index)
        with torch.no_grad():
            sae.W_dec.div_(sae.W_dec.norm(dim=-1, keepdim=True))
            if sae.threshold is not None:
                sae.threshold.clamp_(min=0)
        memory["silent"] = torch.where(firing, 0, silent + 1).tolist()
        memory["cpu_s"] += time.process_time() - started
        return metrics

    files = (_state(out), out.with_name(f"{out.name}.metrics.jsonl"))
    Loop(
        "sae", config.steps, config.save_every, *files, {"sae": sae}, {"sae": optimizer}, _digest(setting, config, x),
        memory=memory,
    ).run(step)  # fmt: skip
    return sae.with_unit_rows(scale), memory["cpu_s"]


def _keep_lengths(sae: Autoencoder) -> None:
    """Take off the decoder's gradient what would only change the length of its rows."""
    assert sae.W_dec.grad is not None
    with torch.no_grad():
        sae.W_dec.grad -= (sae.W_dec.grad * sae.W_dec).sum(-1, keepdim=True) * sae.W_dec


def _known(
    setting: Setting, sae: Autoencoder, others: Rows, progress: Callable[[int, int], None]
) -> tuple[dict[int, Label], dict[int, list[tuple[float, str]]], int]:
    """Labels and texts from some of the rows, and how many rows had their facts looked up."""
    chosen = list(range(len(others)))
    if len(chosen) > LABELLED:
        chosen = sorted(np.random.default_rng([setting.seed, 1]).choice(len(chosen), LABELLED, replace=False).tolist())
    z = active(sae, others.vectors[chosen])
    texts = _texts(z, [others.rows[row].prefix[-LETTERS:] for row in chosen])
    if setting.language is None:
        return {}, texts, 0
    facts = []
    for done, row in enumerate(chosen, 1):
        facts.append(others.facts[row] if len(others.facts) else setting.language.facts(others.rows[row]))
        if done % ROWS == 0 or done == len(chosen):
            progress(done, len(chosen))
    documents = others.doc_ids
    doc_ids = [documents[row] for row in chosen]
    return labels_of(z, facts, doc_ids, setting.language, seed=setting.seed), texts, len(chosen)


def _texts(z: sparse.csr_matrix, endings: list[str]) -> dict[int, list[tuple[float, str]]]:
    """Of every latent the ends of the texts where it is most active, the most active first."""
    columns, found = z.tocsc(), {}
    for latent in range(z.shape[1]):
        span = slice(columns.indptr[latent], columns.indptr[latent + 1])
        best = np.argsort(-columns.data[span], kind="stable")[:TEXTS]
        if len(best):
            rows = columns.indices[span][best]
            found[latent] = [(float(columns.data[span][n]), endings[row]) for n, row in zip(best, rows, strict=True)]
    return found


def _state(out: Path) -> Path:
    return out.with_name(f"{out.name}.{STATE}")


def _digest(setting: Setting, config: SAEConfig, x: Float[Tensor, "n d_model"]) -> str:
    """Of what the training depends on: a state is resumed under the same alone."""
    sums = [float(x.double().sum()), float(x.double().square().sum())]
    parts = [config.model_dump(exclude={"save_every"}), setting.seed, setting.layer, tuple(x.shape), *sums]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _check(config: SAEConfig, d_model: int) -> None:
    if config.k > config.width * d_model:
        raise UsageError(
            f"k is {config.k}, expected at most the number of latents, {config.width * d_model}.\n"
            "  Lower it (--sae-k), or widen the dictionary (--sae-width)."
        )
