"""Steer by words: edit an explanation, add what the edit changes to the stream, and see the continuation change.

The direction comes from the reconstructor (`legible.steer.edits`), or is given: a reading vector, a decoder row of a
sparse autoencoder. The strength comes from calibration on the spot (`legible.steer.strength`). Beside the steered
continuations stand the untouched one and two controls of the same length: a random direction, and an edit of another
statement. Continuations cost nats: what the untouched target pays per token of one says how fluent it still is.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from legible.documents import Document
from legible.engines.steered import Writing
from legible.errors import UsageError
from legible.models.reconstructor import Reconstructor
from legible.reading.positions import parse_positions
from legible.reading.reader import Prepared, Reader
from legible.reading.scoring import needed_reconstructor
from legible.steer.edits import edit_directions, edit_words, random_direction, unrelated_edit
from legible.steer.steered import Steered, Try
from legible.steer.strength import GRID, Proposal, propose
from legible.steer.sweep import MODES, Mode, Steering, mean_nats, trials
from legible.vectors import unit

__all__ = ["MODES", "Steered", "Try", "steer_text"]

SHARES = (0.25, 0.5, 0.75, 1.0)
"""What mode `patch` tries: shares of the way to the edited reconstruction."""
CONTROLS = ("random", "unrelated")
_UNSEEN = 1e-4  # of the activation's norm: below it the reconstructor makes no difference between the texts


def steer_text(
    reader: Reader,
    text: str,
    *,
    pos: int,
    edits: Sequence[tuple[str, str]] = (),
    replacement: str | None = None,
    explanation: str | None = None,
    vector: Float[Tensor, " d_model"] | None = None,
    strengths: Sequence[float] | None = None,
    mode: Mode = "later",
    controls: bool = True,
    samples: int = 1,
    max_tokens: int = 60,
    temperature: float = 0.0,
    seed: int = 0,
) -> Steered:
    """Edit the explanation of one token and continue the text under the difference.

    Args:
        reader: a checkpoint with a reconstructor, unless a vector is given.
        text: what the target has read; it is continued behind its last token.
        pos: the token at which the stream is first changed; negative counts from the end.
        edits: (old, new) words of the explanation, each at its first place; or give `replacement`.
        replacement: the whole edited explanation.
        explanation: what is edited; absent: the greedy reading of the token.
        vector: a direction to add in place of an edit's, any length; nothing is edited then.
        strengths: lengths of the added vector in units of the activation's norm (negative: the other way); in mode
            `patch` shares of the way to the edited reconstruction. Absent: a fixed range, one of which is proposed.
        mode: `later` adds at the token and all later ones, `one` at it alone, `patch` moves its activation.
        controls: also continue under a random direction and an unrelated edit of the same length.
        samples: continuations at every strength.
        max_tokens: of a continuation.
        temperature: of its sampling; 0 takes the likeliest token.
        seed: of sampling and controls.

    Returns:
        All continuations with the proposed strength.

    Raises:
        UsageError: words and a vector, no reconstructor, no such token, no explanation, words that are not in it, an
            edit that the reconstructor does not see, or no room in the target's context.

    Example:
        >>> text = "Mira was a fox. She felt jealous. Mira wanted the ring."
        >>> steer_text(reader, text, pos=-1, edits=[("ring", "pie")]).chosen  # doctest: +SKIP
    """
    _check(mode, strengths, samples, temperature)
    prepared = reader.prepare(Document("", text))
    place = parse_positions(str(pos), len(prepared.encoded.ids))[0]
    before = explanation if explanation is not None else _read(reader, prepared, place, needed=vector is None)
    edit = None if vector is not None else (before, _edited(before, edits, replacement))
    if edit is None and (edits or replacement is not None):
        raise UsageError("words and a vector are two directions.\n  Give the words to replace, or the vector.")
    steering = _steering(reader, prepared, place, mode, samples, Writing(max_tokens, temperature, seed))
    unrelated = unrelated_edit(*edit, reader.checkpoint.language, seed) if controls and edit is not None else None
    amounts = tuple(strengths) if strengths is not None else SHARES if mode == "patch" else GRID
    if edit is None:
        directions, length = cast(Tensor, vector)[None], None
    else:
        directions, length = _directions(needed_reconstructor(reader.checkpoint), mode, edit, unrelated)
    vectors, others = _vectors(steering, directions, amounts, seed)
    untouched, steered, proposal, aside = _continued(
        reader, steering, vectors, others if controls else [], amounts, edit
    )
    start, end = prepared.encoded.offsets[place]
    return Steered(
        text=text,
        pos=place,
        token=text[start:end] or prepared.pieces[place],
        layer=steering.layer,
        norm=float(steering.activation.norm()),
        mode=mode,
        explanation=before,
        edited=edit[1] if edit is not None else None,
        length=length,
        proposal=proposal,
        untouched=untouched,
        steered=steered,
        controls=aside,
        unrelated=unrelated,
    )


def _steering(reader: Reader, prepared: Prepared, place: int, mode: Mode, samples: int, writing: Writing) -> Steering:
    """One token of a prepared text to steer at; a continuation also ends where the target ends a text."""
    target = reader.checkpoint.target
    return Steering(
        target=target,
        ids=prepared.encoded.ids,
        pos=place,
        layer=reader.checkpoint.layer,
        activation=prepared.stream[place],
        writing=replace(writing, stop_ids=target.end_ids),
        samples=samples,
        mode=mode,
    )


def _continued(
    reader: Reader,
    steering: Steering,
    vectors: Float[Tensor, "n d_model"],
    others: Sequence[Float[Tensor, "n d_model"]],
    amounts: Sequence[float],
    edit: tuple[str, str] | None,
) -> tuple[Try, tuple[Try, ...], Proposal, dict[str, tuple[Try, ...]]]:
    """All continuations in one batch: untouched, under the direction (with the proposal), and under the controls."""
    n = len(amounts)
    untouched, *groups = steering.continuations(torch.cat([torch.zeros_like(vectors[:1]), vectors, *others]))
    base = mean_nats(untouched)
    tried = trials(
        reader.engine, steering.activation, vectors, amounts, groups[:n], edit, reader.checkpoint.language,
        reader.longest,
    )  # fmt: skip
    steered = tuple(Try.of(trial.strength, group, base, trial) for trial, group in zip(tried, groups[:n], strict=True))
    aside = {
        name: tuple(
            Try.of(strength, group, base) for strength, group in zip(amounts, groups[n * i : n * (i + 1)], strict=True)
        )
        for i, name in enumerate(CONTROLS[: len(others)], start=1)
    }
    proposal = propose([trial for trial in tried if trial.strength] or tried, base)
    return Try.of(0.0, untouched, base), steered, proposal, aside


def _check(mode: str, strengths: Sequence[float] | None, samples: int, temperature: float) -> None:
    if mode not in MODES:
        raise UsageError(f"unknown mode {mode!r}, expected one of {', '.join(MODES)}.")
    if strengths is not None and not (len(strengths) and all(math.isfinite(strength) for strength in strengths)):
        raise UsageError(f"strengths {list(strengths)} are not one number or more.\n  For example: 0.2,0.4,0.6")
    if samples < 1 or not temperature >= 0:
        raise UsageError(
            f"samples is {samples} and temperature {temperature}, expected at least 1 and at least 0.\n"
            "  One sample at temperature 0 is the likeliest continuation."
        )


def _read(reader: Reader, prepared: Prepared, place: int, *, needed: bool) -> str:
    done = reader.engine.generate(prepared.stream[place : place + 1], max_tokens=reader.longest)
    found = done[0][0].explanation
    if found is None and needed:
        raise UsageError(
            f"the pair wrote no explanation at token {place}, so there are no words to edit.\n"
            "  Choose another token with --pos; `legible read` shows at which tokens it does."
        )
    return found or ""


def _edited(before: str, edits: Sequence[tuple[str, str]], replacement: str | None) -> str:
    if (replacement is None) == (not edits):
        raise UsageError(
            "give either words to replace or the whole edited explanation.\n"
            f"  The explanation reads: {before}\n"
            '  For example: --replace "old words=new words", in Python {"old words": "new words"}'
        )
    if replacement is None:
        return edit_words(before, edits)
    if not replacement.strip() or replacement.split() == before.split():
        raise UsageError(f"the edited explanation is empty or unchanged.\n  It reads: {before}")
    return replacement.strip()


def _directions(
    reconstructor: Reconstructor, mode: Mode, edit: tuple[str, str], unrelated: str | None
) -> tuple[Float[Tensor, "n d_model"], float]:
    """The edit's direction and (where there is one) the unrelated control's, and the length of the edit's."""
    pairs = [edit] if unrelated is None else [edit, (edit[0], unrelated)]
    directions, lengths = edit_directions(reconstructor, pairs)
    if lengths[0] < _UNSEEN:
        raise UsageError(
            f"the reconstructor makes no difference between the explanation and its edit: {edit[1]}\n"
            "  Edit words that it was trained to read."
        )
    if mode == "patch":
        directions = reconstructor.reconstruct([after for _, after in pairs])
    return directions, lengths[0]


def _vectors(
    steering: Steering, directions: Float[Tensor, "n d_model"], amounts: Sequence[float], seed: int
) -> tuple[Float[Tensor, "n d_model"], list[Float[Tensor, "n d_model"]]]:
    """What is added at each strength; by the random control, as long; and by that of every further direction."""
    vectors = steering.vectors(directions[0], amounts)
    size = vectors.norm(dim=-1, keepdim=True)
    sign = torch.tensor(amounts).sign()[:, None]
    chance = random_direction(vectors.shape[1], seed)
    others = [sign * size * chance]
    others += [size * unit(steering.vectors(direction, amounts)) for direction in directions[1:]]
    return vectors, others
