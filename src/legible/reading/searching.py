"""Readings by search: the reconstructor chooses among several explanations, whole or clause by clause.

What the reconstructor likes better need not be truer: `benchmarks/search.py` draws both against the tokens spent.
"""

from collections.abc import Sequence

from legible.engines.search import SearchEngine, reading_back, search_method
from legible.errors import UsageError
from legible.languages.base import Language
from legible.reading.reader import Reader


def searching(reader: Reader, method: str, budget: int, temperature: float | None = None) -> SearchEngine:
    """Let a reader search from now on; its `read` then takes one sample, the best that was found.

    Args:
        reader: changed in place.
        method: best-of-n, beam or tree.
        budget: how many explanations' worth of tokens each reading may write; 1 is the greedy explanation.
        temperature: of the sampling; absent: 1.

    Returns:
        The reader's new engine, which counts what the search costs.

    Raises:
        UsageError: a checkpoint without reconstructor, an unknown method, or a budget below 1.
    """
    checkpoint = reader.checkpoint
    if checkpoint.reconstructor is None:
        raise UsageError(
            f"{reader.name or 'this checkpoint'} has no reconstructor (ar/), and a search needs one to choose by.\n"
            "  Read without --search."
        )
    heat = 1.0 if temperature is None else temperature
    verify = reading_back(checkpoint.reconstructor)
    engine = SearchEngine(checkpoint.verbalizer, verify, search_method(method), budget, heat)
    reader.engine = engine
    return engine


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
    made = [{(c.kind, c.value) for c in language.parse(text).claims} if text is not None else set() for text in texts]
    agreed = {claim for claim in made[0] if sum(claim in other for other in made) >= share * len(texts)}
    kept: list[str] = []
    some = False
    for sentence in texts[0].split("."):
        clauses = []
        for clause in sentence.split(","):
            claims = {(c.kind, c.value) for c in language.parse(clause).claims}
            if claims <= agreed:
                clauses.append((clause.strip(), bool(claims)))
        if any(real for _, real in clauses):
            some = True
            kept.append(", ".join(clause for clause, _ in clauses if clause))
    return ". ".join(kept) + "." if some else None
