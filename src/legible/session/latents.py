"""One latent of a sparse autoencoder: its label, the texts where it is most active, its direction read by a pair."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from legible.display import visible
from legible.errors import UsageError
from legible.instruments.latent_labels import Label
from legible.instruments.sae import load_fitting, load_known
from legible.session.session import Session


@dataclass(frozen=True)
class Latent:
    """What is known of a latent.

    label: the claim that it predicts best; None where it has none.
    texts: the ends of the texts where it is most active, with its activations, the most active first.
    explanation: what the pair's verbalizer writes of its decoder row; None where no explanation came out.
    fve_token: of that explanation, read back against the row; None without a reconstructor.
    """

    number: int
    label: Label | None
    texts: tuple[tuple[float, str], ...]
    explanation: str | None
    fve_token: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        if self.label is None:
            label = "none: nobody labelled it, or it was silent on the labelled rows"
        else:
            held = ", ".join(f"{share:.2f}" for share in self.label.shares)
            label = f"{self.label.kind} {self.label.value} (AUROC {self.label.auroc:.2f}; it holds, by quarter: {held})"
        lines = [f"latent {self.number}", f"label    {visible(label)}"]
        lines += [f"reading  {visible(self.explanation) if self.explanation is not None else 'none came out'}"]
        return lines + [f"{z:8.2f}  …{visible(text)}" for z, text in self.texts]


def read_latent(session: Session, folder: Path, number: int) -> Latent:
    """A latent of the autoencoder in `folder`.

    The verbalizer is given the decoder row as long as an activation usually is, where the folder says how long that is;
    the row is a direction, no activation, and nothing in the pair's training was like it.

    Args:
        session: whose verbalizer reads; the autoencoder must be of its target's width and layer.
        folder: a trained or imported autoencoder.
        number: of the latent, from 0.

    Raises:
        UsageError: no such autoencoder or latent, or one of another model.
    """
    held = load_fitting(folder, session.target, session.layer)
    if not 0 <= number < held.sae.n_latents:
        raise UsageError(f"no latent {number} in {folder}: expected 0 to {held.sae.n_latents - 1}.")
    known = load_known(folder, session.checkpoint.language)
    row = held.sae.W_dec[number].detach()
    reading = session.explain(torch.nn.functional.normalize(row, dim=0) * float(held.about.get("norm", 1.0)))[0]
    return Latent(
        number, known.labels.get(number), tuple(known.texts.get(number, ())), reading.explanation, reading.fve_token
    )
