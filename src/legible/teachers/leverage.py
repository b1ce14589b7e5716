"""Limit a teacher by leverage: leave out the claims whose words a reconstructor does not need.

A true claim that the activation does not hold misleads the reconstructor or leaves it unmoved; deleting it from the
teacher's whole text does not raise the error. No probe is needed, only the reconstructor of an earlier run.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from legible.languages.base import Row
from legible.models.reconstructor import Reconstructor
from legible.reading.spans import without
from legible.teachers.language import LanguageTeacher
from legible.vectors import direction_mse


def keep_from_leverage(
    reconstructor: Reconstructor,
    vectors: Float[Tensor, "n d_model"],
    rows: Sequence[Row],
    teacher: LanguageTeacher,
    *,
    least: float,
) -> list[set[str]]:
    """Per row, the kinds of the teacher's claims whose deletion raises direction_mse by at least `least`.

    As with probes, a teacher keeps set-valued kinds whatever stands here.

    Args:
        reconstructor: of a pair that reads the same target and layer.
        vectors: one activation a row.
        rows: the captured tokens.
        teacher: writes everything that is known of a row; that text is what claims are deleted from.
        least: rise of direction_mse, in [-4, 4].
    """
    texts: list[str] = []
    jobs: list[tuple[int, str | None]] = []  # the row, and the kind that its text lacks (None: none)
    for place, row in enumerate(rows):
        text = teacher.language.write(teacher.language.taught(row), row, teacher.seed)
        claims = teacher.language.parse(text).claims
        texts += [text, *(without(text, claims, i) for i in range(len(claims)))]
        jobs += [(place, None), *((place, claim.relation) for claim in claims)]
    back = reconstructor.reconstruct(texts)
    errors = direction_mse(back, vectors[[place for place, _ in jobs]]).tolist()
    whole = {place: error for (place, kind), error in zip(jobs, errors, strict=True) if kind is None}
    keep: list[set[str]] = [set() for _ in rows]
    for (place, kind), error in zip(jobs, errors, strict=True):
        if kind is not None and error - whole[place] >= least:
            keep[place].add(kind)
    return keep
