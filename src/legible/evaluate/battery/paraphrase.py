"""The same reading in other words, and without the words it copies: what of the context FVE stays.

A paraphrase states the reading's claims in wordings that verbalizer, reconstructor and parser have never seen. The
same rewriting in the teacher's own wordings stands beside it: what that loses, the rewriting loses, not the wording.
"""

import re
from collections.abc import Callable, Sequence

from legible.evaluate.battery.parts import Case, Control, texts_control
from legible.languages.base import Claim, Language, Row
from legible.languages.facts.english import LIST_KINDS, TAIL_WORDINGS
from legible.languages.facts.held_out import write_held_out
from legible.languages.facts.language import FactsLanguage
from legible.languages.world import WorldLanguage

Rewrite = Callable[[Sequence[Claim], Row, int], str]
_QUOTED = re.compile(r'"[^"]*"|“[^”]*”')
_TAIL = re.compile(
    rf"(?:^|(?<=\s))(?:{'|'.join(re.escape(w.removesuffix(' {}')) for w in TAIL_WORDINGS)}) .*$", re.DOTALL
)

PARAPHRASE = "that the score lives on wordings: the same claims in words that neither role has seen"
REWRITTEN = "that rewriting as such costs the score: the same claims in the teacher's wordings"
STRIPPED = "that the score lives on what is copied from the last words of the text"


def paraphrase_controls(case: Case) -> list[Control]:
    """The claims of the readings in held-out wordings, and in the teacher's."""
    language = case.bench.language
    rows = (("paraphrase", PARAPHRASE, held_out_rewrite(language)), ("rewritten", REWRITTEN, seen_rewrite(language)))
    found = []
    for name, rules_out, rewrite in rows:
        if rewrite is None or language is None:
            found.append(
                Control(name, rules_out, "n/a: no language knows the claims of this text, so none can be rewritten")
            )
            continue
        texts = [
            rewritten(language.parse(text).claims, row, rewrite, case.seed) if text is not None else None
            for text, row in zip(case.explained.texts, case.bench.sample.rows, strict=True)
        ]
        found.append(
            _retaining(case, name, rules_out, texts, "claims of a reading beyond the first of a kind left out")
        )
    return found


def quote_stripped(case: Case) -> Control:
    """The readings without quoted spans and without what they say of the last words.

    In the world nothing is quoted: there the claims whose value stands among the last 8 tokens go, and the rest is
    written anew in the teacher's wordings.
    """
    language = case.bench.language
    rows = case.bench.sample.rows
    pairs = list(zip(case.explained.texts, rows, strict=True))
    if isinstance(language, WorldLanguage):
        texts = [_without_recent(text, row, language, case.seed) for text, row in pairs]
        how = "claims of values among the last 8 tokens left out, the rest in the teacher's wordings"
    else:
        texts = [without_quotes(text) if text is not None else None for text, _ in pairs]
        how = "quoted spans and the statement of the last words left out"
    changed = sum(new != old for new, old in zip(texts, case.explained.texts, strict=True))
    if not changed:
        return Control("quote_stripped", STRIPPED, "n/a: no reading quotes anything")
    return _retaining(case, "quote_stripped", STRIPPED, texts, f"{how}; {changed} of {len(texts)} readings changed")


def held_out_rewrite(language: Language | None) -> Rewrite | None:
    """Writes claims in wordings held out from teacher, roles and parser; None where the language has none."""
    if isinstance(language, WorldLanguage):
        return lambda claims, row, seed: language.write(claims, row, seed, held_out=True)
    return write_held_out if isinstance(language, FactsLanguage) else None


def seen_rewrite(language: Language | None) -> Rewrite | None:
    """Writes claims in the teacher's wordings."""
    return language.write if language is not None else None


def rewritten(claims: Sequence[Claim], row: Row, rewrite: Rewrite, seed: int) -> str | None:
    """The claims in other words, the first value of a kind that has one at a time; None where nothing is claimed."""
    kept: list[Claim] = []
    for claim in claims:
        same = [other for other in kept if other.kind == claim.kind]
        if claim.kind is not None and (not same or claim.kind in LIST_KINDS):
            kept.append(claim)
    return (rewrite(kept, row, seed) or None) if kept else None


def without_quotes(text: str) -> str | None:
    """A text without quoted spans and without the facts language's final statement; None where nothing stays."""
    return " ".join(_TAIL.sub("", _QUOTED.sub("", text)).split()) or None


def _without_recent(text: str | None, row: Row, language: WorldLanguage, seed: int) -> str | None:
    claims = language.parse(text).claims if text is not None else []
    recent = re.findall(r"[\w'-]+", row.recent)
    kept = [claim for claim in claims if claim.value not in recent]
    return rewritten(kept, row, language.write, seed)


def _retaining(case: Case, name: str, rules_out: str, texts: Sequence[str | None], note: str) -> Control:
    """A control that keeps the claims; without figures for claims where the parser cannot read these wordings."""
    control = texts_control(case, name, rules_out, texts, note)
    return Control(name, rules_out, note, control.miss, control.judged or None, retains=True)
