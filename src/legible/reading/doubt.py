"""Doubt, decided in one place for every form of output: which claims are doubtful, and where a pair has little to say.

A claim of p_true below one half is doubtful. Pages dim its words and strike them through; where words cannot be both
(the terminal, Markdown, plain text) a gap stands in their place, and "n doubtful claims" behind them. A claim without
p_true is shown as it is, and the reading says why it has none. A score counts from the reading's floor: what words that
say nothing of the activation score there (`legible.reading.floor`).

The page cannot import this module: `serve/web/doubt.js` says the same, and a test compares the two.
"""

import math
from collections.abc import Sequence

from legible.display import visible

DOUBTFUL = 0.5  # p_true below which a claim is doubtful
SURE = 0.95  # p_true from which it is shown as sure
NO_BETTER = "no better than saying nothing"
LITTLE = {"early_position": "too early in the text", "ood": "outside what the pair was trained on"}


def doubtful(p_true: float | None) -> bool:
    """Whether a claim of this probability is shown as doubtful; one without a probability is not."""
    return p_true is not None and p_true < DOUBTFUL


def doubtful_claims(n: int) -> str:
    """The words that stand for claims that are withheld; empty where there are none."""
    return f"{n} doubtful claim{'' if n == 1 else 's'}" if n else ""


def not_understood(clauses: Sequence[str]) -> str:
    """The words for clauses that no relation was read from, so that nothing says how far to trust them."""
    return f"not understood, so neither true nor false: {', '.join(map(visible, clauses))}" if clauses else ""


def no_better(fve: float | None, floor: float | None) -> bool:
    """Whether a token's score is at most its floor, in the two digits that are shown; False where either is unknown."""
    return fve is not None and floor is not None and _hundredths(fve) <= _hundredths(floor)


def little_to_say(flags: Sequence[str], fve: float | None, floor: float | None) -> str:
    """Why the pair has little to say at a token, in words; empty where it has.

    Args:
        flags: the reading's.
        fve: its fve_token.
        floor: its floor_fve.
    """
    reasons = [LITTLE[flag] for flag in flags if flag in LITTLE] + [NO_BETTER] * no_better(fve, floor)
    return f"little to say here: {', '.join(reasons)}" if reasons else ""


def above_floor(fve: float | None, floor: float | None) -> float | None:
    """The share of what the floor leaves unexplained that the words explain, in [0, 1]: how strongly a score is drawn.

    A floor below 0 counts as 0, the score of the mean; without a floor the share is the score.
    """
    if fve is None or fve != fve:
        return None
    start = max(0.0, floor or 0.0)
    return max(0.0, (fve - start) / (1.0 - start)) if start < 1.0 and not no_better(fve, floor) else 0.0


def _hundredths(score: float) -> int:
    return math.floor(100 * score + 0.5)
