"""A sparse autoencoder as an instrument: the labels of the latents that are most active, and what these add up to.

Trained by `legible.train.instruments.sae`, or imported from another tool's folder. Labels are claims, each with a
share: how often it held in other documents where the latent was about so active (`legible.instruments.latent_labels`).
That share is the claim's score, an estimate of its probability; of several latents with the same claim the largest
counts, which leans upwards.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from legible.errors import UsageError
from legible.instruments.autoencoder import ROWS, Autoencoder
from legible.instruments.autoencoder_files import Held, read_autoencoder
from legible.instruments.base import (
    Instrument,
    Needs,
    Offer,
    Rows,
    Said,
    Scored,
    Setting,
    check_width,
    trained_file,
    value_claim,
)
from legible.instruments.latent_labels import FILE, Label, active, from_json, labels_of
from legible.languages.base import Language, Row
from legible.models.target import Target

TOP = 16  # latents whose labels are claimed
SHOWN = 5  # of these in the line of text


@dataclass(frozen=True)
class Known:
    """What is known of latents, by their number: labels, and texts where they are most active."""

    labels: Mapping[int, Label] = field(default_factory=dict)
    texts: Mapping[int, Sequence[tuple[float, str]]] = field(default_factory=dict)


class SparseAutoencoder(Instrument):
    """The strongest latents, said by their labels; reconstructs what the decoder gives.

    Args:
        target, layer: whose activations.
        sae: the autoencoder.
        labels: of its latents; without any it claims nothing.
        language: the labels are in.
        top: so many of the most active latents are said.
        needs: what it took to make it.
    """

    name = "sae"
    calibrated = True

    def __init__(
        self,
        target: Target,
        layer: int,
        sae: Autoencoder,
        labels: Mapping[int, Label] | None = None,
        language: Language | None = None,
        *,
        top: int = TOP,
        needs: Needs = Needs(),
    ) -> None:
        self.target, self.layer, self.sae, self.language = target, layer, sae, language
        self.labels = labels or {}
        self.top, self._needs = min(top, sae.n_latents), needs

    @torch.no_grad()
    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """The most active latents, the most active first: `17 mood sad 3.21, 240 2.90`, and their labels as claims."""
        check_width(self.target, vectors)
        said = []
        for chunk in vectors.float().split(ROWS):
            values, places = self.sae.encode(chunk).topk(self.top, dim=-1)
            for z, latents in zip(values.tolist(), places.tolist(), strict=True):
                said.append(self._said([(n, one) for n, one in zip(latents, z, strict=True) if one > 0]))
        return said

    @torch.no_grad()
    def reconstruct(
        self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()
    ) -> Float[Tensor, "n d_model"] | None:
        """What the decoder gives."""
        check_width(self.target, vectors)
        return torch.cat([self.sae.decode(self.sae.encode(chunk)) for chunk in vectors.float().split(ROWS)])

    def _said(self, strongest: Sequence[tuple[int, float]]) -> Said:
        text = ", ".join(f"{self.called(n)} {z:.2f}" for n, z in strongest[:SHOWN])
        return Said(text or None, self._claims(strongest))

    def called(self, latent: int) -> str:
        """Its number, and its label where it has one."""
        label = self.labels.get(latent)
        return str(latent) if label is None else f"{latent} {label.kind} {label.value}"

    def _claims(self, strongest: Sequence[tuple[int, float]]) -> tuple[Scored, ...]:
        """Labels as claims, the surest of each kind that has one value at a time; none twice."""
        if self.language is None:
            return ()
        surest: dict[tuple[str, str | None], Scored] = {}
        for latent, z in strongest:
            if (label := self.labels.get(latent)) is not None:
                share = label.share_at(z)
                key = (label.kind, label.value if label.kind in self.language.list_kinds else None)
                if (old := surest.get(key)) is None or share > (old.score or 0.0):
                    surest[key] = Scored(value_claim(self.language, label.kind, label.value), share)
        return tuple(surest.values())


def load_known(folder: Path, language: Language | None) -> Known:
    """The labels beside a trained autoencoder; empty where there are none.

    Raises:
        UsageError: a broken file.
    """
    path = folder / FILE
    if not path.is_file():
        return Known()
    try:
        labels, texts = from_json(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path} holds no labels of latents ({error}).\n  The usual cause is an edited file. Delete it: the "
            "latents are then read by number."
        ) from None
    kinds = language.kinds if language is not None else ()
    return Known({n: label for n, label in labels.items() if label.kind in kinds}, texts)


def load_fitting(folder: Path, target: Target, layer: int) -> Held:
    """The autoencoder of a folder, checked against the model.

    Raises:
        UsageError: none that can be read, or one of another width or layer.
    """
    held = read_autoencoder(folder)
    width = len(held.sae.b_dec)
    if width != target.d_model or held.layer not in (None, layer):
        whose = "" if held.layer is None else f" of layer {held.layer} and"
        raise UsageError(
            f"{folder} is{whose} of width {width}, expected layer {layer} and width {target.d_model}.\n"
            "  The usual cause is an autoencoder of another model or layer. Layers count from 0; give one: --layer K"
        )
    return held


def labelled(sae: Autoencoder, others: Rows, language: Language, seed: int = 0) -> dict[int, Label]:
    """Labels from rows whose facts are known."""
    return labels_of(active(sae, others.vectors), others.facts, others.doc_ids, language, seed=seed)


def _made(setting: Setting) -> SparseAutoencoder:
    command = "legible instrument sae MODEL STORE --out FOLDER"
    folder = trained_file(setting, SparseAutoencoder.name, "a folder with an autoencoder", command)
    held = load_fitting(folder, setting.target, setting.layer)
    labels, about = load_known(folder, setting.language).labels, held.about
    rows, others = int(about.get("labels", 0)), setting.others
    if not labels and setting.language is not None and others is not None and len(others.facts):
        labels, rows = labelled(held.sae, others, setting.language, setting.seed), len(others.facts)
    needs = Needs(rows, int(about.get("texts", 0)), about.get("train_cpu_s"))
    return SparseAutoencoder(setting.target, setting.layer, held.sae, labels, setting.language, needs=needs)


OFFER = Offer(
    SparseAutoencoder.name,
    "the labels of the most active latents of a sparse autoencoder, and its reconstruction",
    "rival",
    "that a sparse dictionary, its latents labelled by what they predict, says as much",
    _made,
    trained=True,
    folder=True,
)
