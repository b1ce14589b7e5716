"""What several explanations of one activation agree on. No search: it only leaves out what is not said often."""

from collections.abc import Sequence

from legible.languages.base import Language


def consensus(texts: Sequence[str | None], language: Language, share: float) -> str | None:
    """The clauses of the first explanation whose claims a share of all explanations make; None where none are left.

    Args:
        texts: explanations of one activation; None is a failed parse and agrees with nothing.
        language: parses the claims; clauses that claim nothing are kept beside one that does.
        share: of the explanations, in [0, 1], that have to make a claim.

    Example:
        >>> from legible.languages.world import WorldLanguage
        >>> consensus(["Is a fox, feels sad.", "Is a fox, feels shy."], WorldLanguage(), 0.9)
        'Is a fox.'
    """
    if texts[0] is None:
        return None
    made = [{c.key for c in language.parse(text).claims} if text is not None else set() for text in texts]
    agreed = {claim for claim in made[0] if sum(claim in other for other in made) >= share * len(texts)}
    kept: list[str] = []
    some = False
    for sentence in texts[0].split("."):
        clauses = []
        for clause in sentence.split(","):
            claims = {c.key for c in language.parse(clause).claims}
            if claims <= agreed:
                clauses.append((clause.strip(), bool(claims)))
        if any(real for _, real in clauses):
            some = True
            kept.append(", ".join(clause for clause, _ in clauses if clause))
    return ". ".join(kept) + "." if some else None
