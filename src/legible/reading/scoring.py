"""How well words give an activation back: the score behind readings, the server's `score` and one's own words."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from legible.errors import UsageError
from legible.models.reconstructor import Reconstructor
from legible.reading.checkpoint import Checkpoint
from legible.vectors import direction_mse, fve_token


@dataclass(frozen=True)
class Score:
    """How well an explanation gives one activation back.

    direction_mse: in [0, 4]; 0 is exact, 2 orthogonal.
    fve_token: 1 - direction_mse / V; at most 1; None where the checkpoint does not know V.
    """

    direction_mse: float
    fve_token: float | None


def needed_reconstructor(checkpoint: Checkpoint) -> Reconstructor:
    """The checkpoint's reconstructor.

    Raises:
        UsageError: it has none.
    """
    if checkpoint.reconstructor is None:
        raise UsageError(
            "this checkpoint has no reconstructor, so words cannot be turned into a vector, nor scored.\n"
            "  Give one with an `ar` folder, for example 'builtin'."
        )
    return checkpoint.reconstructor


def reconstructed(checkpoint: Checkpoint, explanations: Sequence[str]) -> Float[Tensor, "n d_model"]:
    """What the reconstructor makes of explanations, on the processor; only the direction means anything.

    Raises:
        UsageError: no reconstructor, no token at all, or an explanation longer than its context.
    """
    reconstructor = needed_reconstructor(checkpoint)
    room = int(reconstructor.backbone.config.get_text_config().max_position_embeddings)
    ids, mask = reconstructor.encode(explanations)
    extra = len(reconstructor.prompt.prefix_ids) + len(reconstructor.prompt.suffix_ids)
    if not ids.shape[1] or int(mask.sum(1).max()) + extra > room:
        raise UsageError(f"an explanation has no token, or more than the reconstructor's context of {room}.")
    return reconstructor.reconstruct(explanations)


def scores(checkpoint: Checkpoint, explanations: Sequence[str], vectors: Float[Tensor, "n d_model"]) -> list[Score]:
    """The score of every explanation against its row of `vectors`.

    Raises:
        UsageError: as `reconstructed`.
    """
    errors = direction_mse(reconstructed(checkpoint, explanations), vectors.cpu()).tolist()
    return [Score(mse, fve_of(mse, checkpoint.variance)) for mse in errors]


def fve_of(mse: float | None, variance: float | None) -> float | None:
    """fve_token of a direction_mse; None without one or without V."""
    return fve_token(mse, variance) if mse is not None and variance else None
