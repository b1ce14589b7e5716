"""Readings without training: an instrument of `legible.instruments` reads any supported model's own activations.

The readings have the shape of `legible.reading.reader`, without scores: no reconstructor reads the text back, and no
calibrator says how likely it is true. What an instrument writes is the target's own continuation, not a finding.
"""

from pathlib import Path
from typing import Any

import torch

from legible.config import AUTO, Placement
from legible.contract import read_contract
from legible.contract.schema import ModelContract
from legible.errors import UsageError
from legible.instruments import Instrument, LogitLens, make_instrument
from legible.languages.base import parsed_by
from legible.models.placement import circumstances_part
from legible.models.target import Target
from legible.reading.flags import text_flags
from legible.reading.positions import parse_positions
from legible.reading.reading import ReadClaim, Reading
from legible.reading.shipped import shipped_target

NO_CALIBRATOR = "read without training: only a checkpoint's calibrator says how likely a claim is true"


def open_model(name: str, place: Placement = AUTO) -> tuple[Target, int]:
    """A model to read without training, and the layer read when none is named.

    Args:
        name: a model's name (see `legible.models.local`), or a shipped pair's where its target ships with it
            (`builtin`).
        place: the device, and how the weights are held.

    Returns:
        The target, and the shipped pair's layer; for other models the layer at two thirds of the depth, about where
        published pairs read.

    Raises:
        UsageError: no such model, a checkpoint instead of a model, or pickle weights only.
        UnsupportedModelError: a family that Legible does not know.
    """
    if (inside := shipped_target(name)) is not None:
        target = Target.load(str(inside), place=place)
        target.name = name
        contract = read_contract(inside.parent / "av")
        assert isinstance(contract, ModelContract)
        assert contract.layer is not None
        return target, contract.layer
    for folder in (Path(name), Path(name) / "checkpoint"):
        if (folder / "av").is_dir():
            own = f"its target: {folder / 'target'}" if (folder / "target").is_dir() else "the model it was trained on"
            raise UsageError(
                f"{name} is a checkpoint, expected a model's directory or hub name.\n"
                f"  Read a checkpoint without --method, or give {own}."
            )
    target = Target.load(name, place=place)
    return target, min(target.n_layers - 1, 2 * target.n_layers // 3)


def load(name: str, method: str, *, layer: int | None = None, place: Placement = AUTO) -> "ZeroShotReader":
    """A model ready to be read by an instrument.

    Args:
        name: see `open_model`.
        method: `logit-lens`, `patchscopes` or `selfie`.
        layer: the layer K read; absent: see `open_model`.
        place: the device, and how the weights are held.

    Raises:
        UsageError: no such model, method or layer.

    Example:
        >>> load("builtin", "logit-lens").read("Pavel kept a hammer in the pocket.")[-1].explanation  # doctest: +SKIP
    """
    target, usual = open_model(name, place)
    chosen = usual if layer is None else layer
    instrument = make_instrument(method, target, chosen)
    target.self_check(chosen)
    return ZeroShotReader(instrument, name)


class ZeroShotReader:
    """An instrument over whole texts."""

    def __init__(self, instrument: Instrument, name: str) -> None:
        self.instrument = instrument
        self.name = name

    def read(self, text: str, *, positions: str = "all") -> list[Reading]:
        """One `Reading` for each chosen token; see `legible.reading.reader.Reader.read`.

        `early_position` flags tokens whose whole past lies among the last 8 tokens: nothing there goes beyond them.

        Raises:
            UsageError: an empty or too long text, or positions that are not there.
        """
        target, layer = self.instrument.target, self.instrument.layer
        encoded = target.encode(text)
        chosen = parse_positions(positions, len(encoded.ids))
        ids = torch.tensor([encoded.ids])
        stream = target.streams(ids, torch.ones_like(ids), (layer,))[layer][0].cpu()
        pieces = list(target.tokenizer.convert_ids_to_tokens(encoded.ids))
        norms = stream.norm(dim=-1)
        flags = text_flags(encoded, pieces, norms, 1)  # nothing was trained: only a first token has no context
        readings = []
        for pos, written in zip(chosen, self.instrument.read(stream[chosen]), strict=True):
            start, end = encoded.offsets[pos]
            readings.append(
                Reading(
                    pos=pos,
                    token=text[start:end] or pieces[pos],
                    token_id=encoded.ids[pos],
                    layer=layer,
                    norm=float(norms[pos]),
                    flags=flags[pos] if written is not None else (*flags[pos], "parse_failed"),
                    explanation=written,
                    direction_mse=None,
                    fve_token=None,
                    claims=self._claims(written),
                    p_true_reason=None if written is None else NO_CALIBRATOR,
                )
            )
        return readings

    def about(self) -> dict[str, Any]:
        """What a report says of the instrument."""
        own = circumstances_part(self.instrument.target.model)
        return {"method": self.instrument.name, "model": self.name, "layer": self.instrument.layer, **own}

    def _claims(self, written: str | None) -> tuple[ReadClaim, ...]:
        """Sentences whose truth nobody decides; the logit lens lists words and claims nothing."""
        if written is None or isinstance(self.instrument, LogitLens):
            return ()
        return tuple(ReadClaim(claim.text) for claim in parsed_by(None, written).claims)
