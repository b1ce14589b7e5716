"""From an edit of an explanation's words to a direction in the target's stream, and the controls beside it.

The direction is what the edit changes for the reconstructor: the difference of its two unit vectors. Where that is less
than half as long as the difference that the edited statements make by themselves, the reconstructor explains the edit
away by other words ("has the hood on" goes with snow, so snow edited into fog hardly moves the whole): then it is the
difference of the statements alone. Only the direction is used; how far to go is the strength's business.
"""

import re
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from legible.errors import UsageError
from legible.languages.base import Claim, ClaimKey, Language, parsed_by
from legible.models.reconstructor import Reconstructor
from legible.reading.spans import without
from legible.vectors import unit

EXPLAINED = 0.5  # of the length alone: below it the rest of the explanation explains the edit away
_STATEMENT = re.compile(r"[^,;.!?\n]+")


def edit_words(explanation: str, edits: Sequence[tuple[str, str]]) -> str:
    """The explanation with words replaced, each pair (old, new) at the first place where the old words stand.

    Args:
        edits: whole words; the new ones may be empty.

    Raises:
        UsageError: no edits, words that are not there, or nothing changed.

    Example:
        >>> edit_words("The hero plans to steal.", [("steal", "ask")])
        'The hero plans to ask.'
    """
    edited = explanation
    for old, new in edits:
        found = re.search(rf"(?<!\w){re.escape(old)}(?!\w)", edited) if old.strip() else None
        if found is None:
            raise UsageError(
                f"the words {old!r} are not in the explanation, which reads:\n  {edited}\n"
                "  Replace words of it, whole and as they are spelt there."
            )
        edited = edited[: found.start()] + new + edited[found.end() :]
    if not edited.strip() or edited.split() == explanation.split():
        raise UsageError(
            f"nothing is left, or nothing changed, of the explanation:\n  {explanation}\n"
            "  Replace at least one of its words by others."
        )
    return edited


def edit_directions(
    reconstructor: Reconstructor, pairs: Sequence[tuple[str, str]], *, alone: bool = True
) -> tuple[Float[Tensor, "n d_model"], list[float]]:
    """The unit direction in which each edit (before, after) moves the reconstruction.

    Args:
        alone: take the difference of the edited statements by themselves where the whole's is shorter than `EXPLAINED`
            of it; False: always the whole's.

    Returns:
        Unit vectors, and the length of each difference between unit vectors before it was scaled: near 0 the
        reconstructor hardly tells the two texts apart. An edit that it does not see has a zero vector.
    """
    texts = [text for pair in pairs for text in pair]
    parts = [_alone(*pair) if alone else None for pair in pairs]
    texts += [text for part in parts if part is not None for text in part]
    vectors = unit(reconstructor.reconstruct(texts))
    moves = vectors[1 : 2 * len(pairs) : 2] - vectors[: 2 * len(pairs) : 2]
    rest = vectors[2 * len(pairs) :]
    parted = [row for row, part in enumerate(parts) if part is not None]
    for row, by_itself in zip(parted, rest[1::2] - rest[::2], strict=True):
        if moves[row].norm() < EXPLAINED * by_itself.norm():
            moves[row] = by_itself
    return unit(moves), moves.norm(dim=-1).tolist()


def random_direction(width: int, seed: int) -> Float[Tensor, " d_model"]:
    """A unit vector drawn evenly from the sphere: the control that any change of this length makes."""
    return unit(torch.from_numpy(np.random.default_rng([seed, 7]).standard_normal(width)))


def unrelated_edit(before: str, after: str, language: Language | None, seed: int) -> str | None:
    """`before` with another statement changed than the edit changes: the control that any edit makes.

    Where the language lists values, another claim gets another value of its relation; else another statement goes.

    Returns:
        The other edit, drawn by seed; None where the explanation says nothing else.
    """
    rng = np.random.default_rng([seed, 8])
    claims = parsed_by(language, before).claims
    kept = {text.strip() for text in _STATEMENT.findall(after)}
    touched = {word for text in _STATEMENT.findall(before) if text.strip() not in kept for word in text.split()}
    others = [i for i, claim in enumerate(claims) if claim.text.rstrip(".!?;") in after and claim.value not in touched]
    if language is not None and language.values:
        others = [i for i in others if claims[i].value in language.values.get(claims[i].relation or "", ())]
        if not others:
            return None
        claim = claims[others[int(rng.integers(len(others)))]]
        values = [value for value in language.values[str(claim.relation)] if value != claim.value]
        return with_value(before, claim, values[int(rng.integers(len(values)))])
    shorter = [text for i in others if (text := without(before, claims, i)).strip() and text != before]
    return shorter[int(rng.integers(len(shorter)))] if shorter else None


def with_value(explanation: str, claim: Claim, value: str) -> str:
    """The explanation with another value in the words of one of its claims.

    Raises:
        UsageError: the claim's words or value are not in it.
    """
    at = explanation.find(claim.text)
    if at < 0 or claim.value is None:
        raise UsageError(f"the explanation does not say {claim.text!r}.\n  Give a claim that was parsed from it.")
    return explanation[:at] + edit_words(claim.text, [(claim.value, value)]) + explanation[at + len(claim.text) :]


def reads_back(read: str | None, before: str, after: str, language: Language | None) -> bool:
    """Whether an explanation says what the edit put in, and nothing of what it took out.

    Compared are claims where a language parses them and they differ, else words.
    """
    if read is None:
        return False
    old, new, now = (_claims(text, language) for text in (before, after, read))
    if old == new:
        old, new, now = (set(re.findall(r"\w+", text.lower())) for text in (before, after, read))
    return new - old <= now and not (old - new) & now and old != new


def _claims(text: str, language: Language | None) -> set[ClaimKey] | set[str]:
    return {claim.key for claim in language.parse(text).claims} if language is not None else set()


def _alone(before: str, after: str) -> tuple[str, str] | None:
    """What the edit takes out and what it puts in, as texts of their own; None where it does only one of both."""
    old, new = ([text.strip() for text in _STATEMENT.findall(each)] for each in (before, after))
    gone = [text for text in old if text and text not in new]
    come = [text for text in new if text and text not in old]
    return (_sentences(gone), _sentences(come)) if gone and come else None


def _sentences(statements: Sequence[str]) -> str:
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in statements)
