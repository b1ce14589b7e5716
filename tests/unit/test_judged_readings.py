"""What the judge is asked about readings and how far it agrees with what is known to be true."""

from typing import Any

import numpy as np
import torch
from judging import Scripted, claims_of, lines

from legible.documents import Document
from legible.evaluate.claims import Judged, precision
from legible.evaluate.llm_judge import agreement_on_readings, agreement_on_statements, is_asked, judge_claims
from legible.evaluate.sample import Sample
from legible.languages.base import Claim, Row
from legible.languages.base import judge as decide
from legible.languages.text import LANGUAGE as TEXT
from legible.languages.world import WorldLanguage, story_document
from legible.teachers import Explanation, Refusal
from legible.teachers.judge import Judge, known_statements
from legible.teachers.prompt import Request


def story_rows(count: int) -> list[Row]:
    texts = [
        "One day Tom went to the park with his dog",
        'Lily went home to her mom. She said, "I am so happy',
        "Ben had two toys (a small red ball and a boat",
        "Mia saw Amy. Do you know where they",
    ]
    return [
        Row(Document(f"doc{n}", texts[n % 4]), 20, len(texts[n % 4]), len(texts[n % 4]) - 20, 5, 4)
        for n in range(count)
    ]


def sample_of(rows: list[Row]) -> Sample:
    return Sample(torch.zeros(len(rows), 4), rows, [dict(TEXT.facts(row)) for row in rows])


def test_known_statements_are_half_true_and_known_rightly() -> None:
    rows = story_rows(12)
    statements = known_statements(rows, TEXT, TEXT.text_kinds)
    assert len(statements) == 24
    assert sum(one.true for one in statements) == 12
    assert all((decide(one.claim, TEXT.facts(rows[one.row])) == "true") == one.true for one in statements)
    assert len({one.claim.relation for one in statements}) > 2
    assert statements == known_statements(rows, TEXT, TEXT.text_kinds)


def test_claims_are_spelled_out_so_that_a_text_can_be_asked_about_them() -> None:
    for kind in set(TEXT.text_kinds) - {"last_word"}:
        value = TEXT.values.get(kind, ("xyz",))[0]
        said = TEXT.parse(TEXT.in_plain_words(Claim("", kind, value))).claims
        assert [(claim.relation, claim.value) for claim in said] == [(kind, value)]
    assert TEXT.in_plain_words(Claim("", "last_word", "xyz")) == 'The last word is "xyz".'
    assert TEXT.in_plain_words(Claim("", "in_quote", "no")) == "This is wrong: A quote is open."
    assert TEXT.in_plain_words(Claim("It is about a dog.")) == "It is about a dog."
    assert WorldLanguage().in_plain_words(Claim("is sad", "mood", "sad")) == "is sad (mood: sad)"


def read_claims(rows: list[Row]) -> list[Judged]:
    made = [
        Claim("", "last_word", "happy"), Claim("", "in_quote", "yes"), Claim("", "next_token", "-ing"),
        Claim("", "topic", None),
    ]  # fmt: skip
    return [
        Judged(n, claim, decide(claim, TEXT.facts(row)), True) for n, row in enumerate(rows) for claim in made
    ]  # fmt: skip


def test_the_judge_is_asked_only_what_a_text_can_decide() -> None:
    sample = sample_of(story_rows(4))
    known = read_claims(list(sample.rows))
    backend = Scripted(lines(lambda claim: "false"))
    judge = Judge(backend)
    judged = judge_claims(judge, sample, known, TEXT)
    assert judge.counts.claims == 8
    for before, after in zip(known, judged, strict=True):
        assert after.verdict == ("false" if is_asked(before, TEXT) else before.verdict)
    assert [request.passage for request in backend.requests] == [row.prefix for row in sample.rows]


def test_the_judges_agreement_counts_both_errors() -> None:
    """4 texts, of which one ends with that word inside a quotation: a judge that always agrees accepts all."""
    sample = sample_of(story_rows(4))
    known = read_claims(list(sample.rows))
    yes = judge_claims(Judge(Scripted(lines(lambda claim: "true"))), sample, known, TEXT)
    found = agreement_on_readings(known, yes, sample, TEXT)
    assert (found["value"], found["n"], found["documents"]) == (2 / 8, 8, 4)
    assert (found["true_accepted"], found["wrong_accepted"], found["kappa"]) == (1.0, 1.0, 0.0)

    def oracle(claims: list[str]) -> str:
        return f"1: {'true' if 'happy' in claims[0] else 'open'} 2: none"

    half = judge_claims(Judge(Scripted(oracle)), sample, known, TEXT)
    found = agreement_on_readings(known, half, sample, TEXT)
    assert (found["n"], found["undecided"]) == (4, 4)


def test_a_judge_of_nonsense_scores_nothing() -> None:
    sample = sample_of(story_rows(4))
    known = read_claims(list(sample.rows))
    judge = Judge(Scripted(lambda claims: "As a fish, I cannot read."))
    judged = [one for one in judge_claims(judge, sample, known, TEXT) if is_asked(one, TEXT)]
    assert np.isnan(precision(judged, sample.doc_ids, context=True).value)
    assert judge.counts.failed == {"no verdict": 8}
    found = agreement_on_statements(judge, sample)
    assert (found["n"], found["undecided"], found["kappa"]) == (0, 8, None)


class Oracle(Scripted):
    """Knows which spelled-out facts are true of a passage."""

    def complete(self, requests: Any) -> list[Explanation | Refusal]:
        return [Explanation(lines(lambda claim, r=request: self.word(claim, r))(claims_of(request.shown())))  # type: ignore[misc]
                for request in requests]  # fmt: skip

    def word(self, claim: str, request: Request) -> str:
        facts = TEXT.facts(Row(Document("", request.passage), 20, len(request.passage), 0, 5, 4))
        true = [TEXT.in_plain_words(Claim("", kind, v)) for kind in facts for v in facts[kind].values]
        return "true" if claim in true else "open"


def test_an_oracle_agrees_with_statements_known_by_construction() -> None:
    sample = sample_of(story_rows(8))
    found = agreement_on_statements(Judge(Oracle(lines(str))), sample)
    assert (found["value"], found["kappa"], found["n"]) == (1.0, 1.0, 16)
    lazy = agreement_on_statements(Judge(Scripted(lines(lambda claim: "true"))), sample)
    assert (lazy["value"], lazy["true_accepted"], lazy["wrong_accepted"]) == (0.5, 1.0, 1.0)


def test_the_world_is_judged_by_its_clauses() -> None:
    document = story_document("test", 0, 0)
    row = Row(document, 40, len(document.text) // 2, 0, 5, 4)
    sample = Sample(torch.zeros(1, 4), [row], [dict(WorldLanguage().facts(row))])
    backend = Scripted(lines(lambda claim: "true"))
    judge_claims(Judge(backend), sample, [Judged(0, Claim("is shy", "mood", "shy"), "open", True)], WorldLanguage())
    assert claims_of(backend.requests[0].shown()) == ["is shy (mood: shy)"]
