"""Readings by instruments: one of `legible.instruments` reads any supported model's own activations.

The readings have the shape of `legible.reading.reader`, without scores: no reconstructor reads the text back, and no
calibrator says how likely it is true. What an instrument writes is the target's own continuation, not a finding.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from legible.config import AUTO, Placement
from legible.contract import read_contract
from legible.contract.schema import ModelContract
from legible.documents import Document
from legible.instruments import Instrument, Said, Setting, offer
from legible.instruments.base import Rows
from legible.languages.base import Row, parsed_by
from legible.models.placement import circumstances_part
from legible.models.target import Encoded, Target
from legible.reading.flags import text_flags
from legible.reading.opening import load_checkpoint
from legible.reading.positions import parse_positions
from legible.reading.reading import ReadClaim, Reading
from legible.reading.rows import rows_of
from legible.reading.shipped import shipped_target

NO_CALIBRATOR = "read by an instrument: only a checkpoint's calibrator says how likely a claim is true"


def open_model(name: str, place: Placement = AUTO) -> tuple[Target, int]:
    """A model to read by an instrument, and the layer read when none is named.

    Args:
        name: a model's name (see `legible.models.local`), or a shipped pair's where its target ships with it
            (`builtin`).
        place: the device, and how the weights are held.

    Returns:
        The target, and the shipped pair's layer; for other models the layer at two thirds of the depth, about where
        published pairs read.

    Raises:
        UsageError: no such model, or pickle weights only.
        UnsupportedModelError: a family that Legible does not know.
    """
    if (inside := shipped_target(name)) is not None:
        target = Target.load(str(inside), place=place)
        target.name = name
        contract = read_contract(inside.parent / "av")
        assert isinstance(contract, ModelContract)
        assert contract.layer is not None
        return target, contract.layer
    target = Target.load(name, place=place)
    return target, min(target.n_layers - 1, 2 * target.n_layers // 3)


def setting_of(name: str, *, layer: int | None = None, pair: bool = False, place: Placement = AUTO) -> Setting:
    """What an instrument can be made from where a model or a checkpoint is named.

    Args:
        name: see `open_model`; or a checkpoint, whose target is read at its layer, in its language.
        layer: the layer K read; absent: the checkpoint's, or as `open_model` has it.
        pair: the instrument needs what a pair's checkpoint holds, such as its probes.
        place: the device, and how the weights are held.

    Raises:
        UsageError: no such model or checkpoint, or a layer that it does not have.
    """
    held = [folder for folder in (Path(name), Path(name) / "checkpoint") if (folder / "av").is_dir()]
    if not (pair or held or shipped_target(name) is not None):
        target, usual = open_model(name, place)
        return Setting(target, usual if layer is None else layer)
    found = load_checkpoint(name, reconstructor="none", place=place)
    found.target.name = name if shipped_target(name) is not None else found.target.name
    if layer not in (None, found.layer):
        return Setting(found.target, int(layer or 0), found.language)
    return Setting(found.target, found.layer, found.language, probes=found.probes, lookup=found.lookup)


def load(
    name: str,
    method: str,
    *,
    layer: int | None = None,
    weights: Path | None = None,
    others: Rows | None = None,
    place: Placement = AUTO,
) -> "ZeroShotReader":
    """A model, or a checkpoint's target, ready to be read by an instrument.

    Args:
        name: see `setting_of`.
        method: one of `legible.instruments.INSTRUMENTS`.
        layer: the layer K read; absent: see `setting_of`.
        weights: the file of a trained instrument.
        others: rows of other documents, for instruments that look things up in them.
        place: the device, and how the weights are held.

    Raises:
        UsageError: no such model, method or layer, or one that lacks what it needs.

    Example:
        >>> load("builtin", "logit-lens").read("Pavel kept a hammer in the pocket.")[-1].explanation  # doctest: +SKIP
    """
    asked = offer(method)
    setting = setting_of(name, layer=layer, pair=not asked.alone and others is None, place=place)
    instrument = asked.make(replace(setting, weights=weights, others=others))
    setting.target.self_check(setting.layer)
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
        given = _rows_at(chosen, Document("text", text), encoded)
        for pos, said in zip(chosen, self.instrument.read(stream[chosen], given), strict=True):
            written = said.text
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
                    claims=_shown(said),
                    p_true_reason=None if written is None else NO_CALIBRATOR,
                )
            )
        return readings

    def about(self) -> dict[str, Any]:
        """What a report says of the instrument."""
        own = circumstances_part(self.instrument.target.model)
        return {"method": self.instrument.name, "model": self.name, "layer": self.instrument.layer, **own}


def _rows_at(chosen: list[int], document: Document, encoded: Encoded) -> list[Row]:
    """The row of every chosen token; that of a special token has the text before it."""
    rows = {row.pos: row for row in rows_of(document, encoded.ids, encoded.offsets)}
    found = []
    for pos in chosen:
        end = max((row.char_end for row in rows.values() if row.pos < pos), default=0)
        special = Row(document, pos, end, end, encoded.ids[pos], encoded.ids[pos - 1] if pos else -1)
        found.append(rows.get(pos, special))
    return found


def _shown(said: Said) -> tuple[ReadClaim, ...]:
    """Its claims; of prose in no language the sentences, whose truth is not decided."""
    if said.claims or said.text is None or said.words != said.text:
        return tuple(ReadClaim(**vars(one.claim)) for one in said.claims)
    return tuple(ReadClaim(claim.text) for claim in parsed_by(None, said.text).claims)
