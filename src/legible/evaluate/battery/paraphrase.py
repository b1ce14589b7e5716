"""The same reading in other words, and without the words it copies: what of the context FVE stays.

A paraphrase states the reading's claims in wordings that verbalizer, reconstructor and parser have never seen. The
same rewriting in the teacher's own wordings stands beside it: what that loses, the rewriting loses, not the wording.
"""

from collections.abc import Sequence

from legible.evaluate.battery.parts import Case, Control, texts_control
from legible.languages.base import Language, unquoted

PARAPHRASE = "that the score lives on wordings: the same claims in words that neither role has seen"
REWRITTEN = "that rewriting as such costs the score: the same claims in the teacher's wordings"
STRIPPED = "that the score lives on what is copied from the last words of the text"


def paraphrase_controls(case: Case) -> list[Control]:
    """The claims of the readings in held-out wordings, and in the teacher's."""
    language = case.bench.language
    controls = []
    for name, rules_out, held_out in (("paraphrase", PARAPHRASE, True), ("rewritten", REWRITTEN, False)):
        if language is None or (held_out and not language.paraphrases):
            controls.append(
                Control(name, rules_out, "n/a: no language knows the claims of this text, so none can be rewritten")
            )
            continue
        texts = [
            None if text is None else language.rewritten(language.parse(text).claims, row, case.seed, held_out=held_out)
            for text, row in zip(case.explained.texts, case.bench.sample.rows, strict=True)
        ]
        controls.append(
            _retaining(case, name, rules_out, texts, "claims of a reading beyond the first of a kind left out")
        )
    return controls


def quote_stripped(case: Case) -> Control:
    """The readings without what they copy from the last words, as their language says; free text without quotations."""
    language = case.bench.language
    texts = [
        None
        if text is None
        else language.without_copied(text, row, case.seed)
        if language is not None
        else unquoted(text) or None
        for text, row in zip(case.explained.texts, case.bench.sample.rows, strict=True)
    ]
    changed = sum(new != old for new, old in zip(texts, case.explained.texts, strict=True))
    note = f"{(language or Language).copied}; {changed} of {len(texts)} readings changed"
    if not changed:
        return Control("quote_stripped", STRIPPED, "n/a: no reading quotes anything")
    return _retaining(case, "quote_stripped", STRIPPED, texts, note)


def _retaining(case: Case, name: str, rules_out: str, texts: Sequence[str | None], note: str) -> Control:
    """A control that keeps the claims; without figures for claims where the parser cannot read these wordings."""
    control = texts_control(case, name, rules_out, texts, note)
    return Control(name, rules_out, note, control.miss, control.judged or None, retains=True)
