"""Limit a teacher to what probes find in the activation: writing what it does not hold teaches making things up."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from legible.errors import UsageError
from legible.languages.base import Language, Row
from legible.probes.probes import ProbeSet, known_labels


def keep_from_probes(
    probes: ProbeSet, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row], language: Language, *, threshold: float
) -> list[set[str]]:
    """Per row, the kinds whose true value the probes find with at least this calibrated probability.

    Rows are judged by probes that never saw their document. Kinds without a probe are not in the result; a teacher
    keeps those that are set-valued.

    Args:
        probes: fitted on activations of the same layer.
        vectors: one activation a row.
        rows: the captured tokens.
        language: whose facts are true of them.
        threshold: in [0, 1].

    Raises:
        UsageError: the threshold is not a probability.
    """
    if not 0.0 <= threshold <= 1.0:
        raise UsageError(
            f"the teacher's threshold is {threshold}, expected a probability in [0, 1].\n  Set `teach.threshold`."
        )
    labels = known_labels([language.facts(row) for row in rows], tuple(probes.classes))
    return probes.found(vectors, labels, [row.document.doc_id for row in rows], threshold=threshold)
