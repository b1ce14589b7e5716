"""How far to steer: a strength that is found on the spot, by what the pair reads and what the target finds odd.

A strength is the length of the added vector in units of the activation's norm. At each of a few strengths the changed
activation is read again. Where the reading first says the edited claim, the activation stands on the border of the two
readings; the proposal is the strongest one up to `MARGIN` times that far whose continuations cost the untouched target
at most `BOUND` nats per token more than its own. What the continuation says of the edited claim plays no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

GRID = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
MARGIN = 2.0  # as far beyond the border as the activation stood before it
BOUND = 2.0  # nats per token; a continuation that follows a changed fact costs about 0.6 by itself


@dataclass(frozen=True)
class Trial:
    """What came of one strength.

    read_back: the changed activation reads as the edit; None where nothing was edited.
    nats: per token of its continuations under the untouched target, their mean; None where nothing was written.
    """

    strength: float
    read: str | None
    read_back: bool | None
    nats: float | None


@dataclass(frozen=True)
class Proposal:
    """The chosen strength, why it was chosen, and whether the edited claim is read back at it.

    read_back: None where nothing was edited.
    """

    strength: float
    reason: str
    read_back: bool | None
    fluent: bool


def propose(
    trials: Sequence[Trial], untouched: float | None, *, bound: float = BOUND, margin: float = MARGIN
) -> Proposal:
    """Choose among trials.

    Args:
        trials: at least one; their order plays no part.
        untouched: nats per token of the target's own continuations.
        bound: most nats per token above these.
        margin: how many times the smallest strength that is read back may be chosen.

    Returns:
        One of the trials' strengths. Where none is read back, the strongest fluent one; where none is fluent, the
        weakest.
    """
    order = sorted(trials, key=lambda trial: abs(trial.strength))
    limit = bound + (untouched or 0.0)
    fluent = [trial for trial in order if trial.nats is not None and trial.nats <= limit]
    back = [trial for trial in order if trial.read_back]
    if not fluent:
        least = order[0]
        return Proposal(
            least.strength, f"every strength tried costs more than {bound:g} nats per token", least.read_back, False
        )
    if not back:
        most = fluent[-1]
        unread = "" if most.read_back is None else "the edited words are read back at none; "
        return Proposal(most.strength, f"{unread}the strongest within {bound:g} nats per token", most.read_back, True)
    border = abs(back[0].strength)
    near = [trial for trial in fluent if abs(trial.strength) <= margin * border + 1e-9]
    if not near:
        least = fluent[0]
        return Proposal(least.strength, f"the weakest within {bound:g} nats per token", least.read_back, True)
    chosen = near[-1]
    reason = f"read back from {border:g} on; the strongest up to {margin:g} times that within {bound:g} nats per token"
    return Proposal(chosen.strength, reason, chosen.read_back, True)
