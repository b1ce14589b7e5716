"""Families of claims by themselves, retrieval and what twins are made of: hand-made rows, and laws."""

from collections.abc import Sequence

import pytest
import torch

from legible.documents import Document
from legible.evaluate.claims import Judged, judge_texts
from legible.evaluate.families import NO_WRITER, BaseRates, family_report
from legible.evaluate.retrieval import CANDIDATES, ECHO, own_is_nearest, same_token_lineup, without_families
from legible.evaluate.sample import Sample
from legible.evaluate.twins import spliced
from legible.labels import Label, Mark
from legible.languages.base import Claim, Fact, Row, judge
from legible.languages.text.language import TextLanguage
from legible.languages.world import WorldLanguage
from legible.reading.calibration import ClaimEvidence
from legible.reading.trusted import TrustedClaim

TEXT = TextLanguage()


def row(doc: str, pos: int, topic: str, token: int = 5) -> Row:
    text = "The men went to the old town and sat down there."
    labels = {"topic": Label((Mark(topic),)), "language": Label((Mark("English"),))}
    return Row(Document(doc, text, labels=labels), pos, len(text), 30, token, 4, (" now",), None, 0.9)


def trusted(texts: Sequence[str], rows: Sequence[Row], p: Sequence[Sequence[float | None]]) -> list[list[TrustedClaim]]:
    """The claims of each text with these probabilities, in order."""
    found = []
    for text, one, given in zip(texts, rows, p, strict=True):
        facts = TEXT.facts(one)
        found.append(
            [
                TrustedClaim(claim, ClaimEvidence(claim.relation), share, judge(claim, facts), True, "none fitted")
                for claim, share in zip(TEXT.parse(text).claims, given, strict=True)
            ]
        )
    return found


@pytest.fixture
def rows() -> list[Row]:
    return [row("a", 40, "history"), row("a", 41, "history"), row("b", 20, "history"), row("c", 50, "arts")]


@pytest.fixture
def sample(rows: list[Row]) -> Sample:
    return Sample(torch.eye(4), rows, [TEXT.facts(one) for one in rows])


SAID = [
    'The topic is history. The language is English. The model is sure.',
    'The topic is arts. The model is torn. It ends with "there.".',
    'The topic is history. The language is English.',
    'The topic is arts. The language is French. The model is sure. It names "Bob" as a person.',
]  # fmt: skip
P = [[0.9, 0.95, 0.9], [0.3, 0.2, 0.6], [0.85, 0.9], [0.8, 0.1, 0.7, 0.5]]


def report(sample: Sample, p=P, said=SAID, floor="The topic is history.", **others):
    rows = len(sample)
    given = {"text_only": None, "decodable": None, "probes": None, "others": sample.facts, **others}
    return family_report(
        trusted(said, sample.rows, p), sample, TEXT, no_activation=judge_texts([floor] * rows, sample, TEXT), **given
    )


def test_every_family_is_counted_by_itself(sample):
    found = report(sample)
    assert list(found) == ["next", "ahead", "now", "context"]
    context, next_, now = found["context"], found["next"], found["now"]
    # topics: right, wrong, right, right; languages: right, right, wrong; nobody decides who is named
    assert (context["n"], context["claims"], context["undecided"], context["documents"]) == (7, 7, 1, 3)
    assert context["precision"]["value"] == pytest.approx(5 / 7)
    assert (context["precision_at_0.8"]["value"], context["precision_at_0.8"]["n"]) == (1.0, 5)
    assert context["shown_per_reading"]["value"] == pytest.approx(5 / 4)
    assert context["auroc"]["value"] == 1.0
    assert (next_["n"], next_["precision"]["value"]) == (3, pytest.approx(2 / 3))
    assert (next_["precision_at_0.8"]["n"], next_["shown_per_reading"]["value"]) == (1, 0.25)
    assert (now["n"], now["precision_at_0.8"]["n"], now["ece"]["value"]) == (1, 0, pytest.approx(0.4))
    assert (found["ahead"]["n"], found["ahead"]["reasons"]["n"]) == (0, "no reading makes a decided claim of it")


def test_half_coverage_is_the_surest_half_of_the_claims_where_nothing_is_known_to_be_decodable(sample):
    found = report(sample)["context"]
    assert found["coverage_of"] == "claims"
    assert found["precision_at_half_coverage"] == found["precision_of_surest_half"]
    assert (found["precision_at_half_coverage"]["value"], found["precision_at_half_coverage"]["n"]) == (1.0, 4)


def test_half_coverage_counts_the_decodable_of_the_family(sample):
    decodable = {
        "topic": torch.tensor([True, True, False, True]),
        "certainty": torch.tensor([False, True, False, False]),
    }
    found = report(sample, decodable=decodable)
    context = found["context"]
    assert (context["coverage_of"], context["decodable"]) == ("decodable", 3)
    # topics named rightly at 0.9 and 0.8, one not at all: half is covered from 0.8 on
    assert (context["precision_at_half_coverage"]["value"], context["precision_at_half_coverage"]["n"]) == (1.0, 5)
    assert found["next"]["decodable"] == 1
    assert "less than half" in found["next"]["reasons"]["precision_at_half_coverage"]
    assert found["now"]["coverage_of"] == "claims"


def test_the_controls_stand_beside_on_the_same_rows(sample):
    written = judge_texts([None, *["The topic is arts."] * 3], sample, TEXT)
    context = report(sample, text_only=written)["context"]
    assert (context["no_activation"]["value"], context["no_activation"]["n"]) == (0.75, 4)
    assert context["lift"]["value"] == pytest.approx(5 / 7 - 3 / 4)
    assert context["lift_at_0.8"]["value"] == pytest.approx(1 - 3 / 4)
    assert (context["text_only"]["value"], context["text_only"]["n"]) == (pytest.approx(1 / 3), 3)
    assert context["kinds"]["topic"]["precision"]["value"] == 0.75
    assert context["kinds"]["topic"]["lift"]["value"] == 0.0
    alone = report(sample)["context"]
    assert (alone["text_only"], alone["reasons"]["text_only"]) == (None, NO_WRITER)


def test_distinct_claims_are_late_rare_and_none_of_the_control(sample):
    """Of the five that are shown one is at token 20, three are common or the control's; "arts" is left."""
    others = [{"topic": Fact("topic", "stated", (value,)), "language": Fact("language", "stated", ("English",))}
              for value in ("history", "arts", "arts", "people")]  # fmt: skip
    found = report(sample, others=others)["context"]
    each, right = found["distinct_per_reading_from_32"], found["distinct_precision_from_32"]
    assert (each["value"], each["n"]) == (pytest.approx(1 / 3), 3)
    assert (right["value"], right["n"]) == (1.0, 1)
    assert report(sample, others=others, floor="The topic is arts.")["context"]["distinct_precision_from_32"]["n"] == 1
    common = [one for one in others if one["topic"].values == ("arts",)]
    assert report(sample, others=common)["context"]["distinct_per_reading_from_32"]["value"] == 0.0


def test_base_rates_follow_the_verdicts():
    facts = [TEXT.facts(row("a", 40, topic)) for topic in ("history", "history", "arts", "people")]
    facts.append({"topic": Fact("topic", "open", ())})
    rates = BaseRates(facts)
    for claim in (Claim("", "topic", "history"), Claim("", "topic", "history", polarity="negative"),
                  Claim("", "topic", "technology"), Claim("", "language", "English")):  # fmt: skip
        decided = [judge(claim, one) for one in facts if claim.relation in one]
        assert rates(claim) == decided.count("true") / len(decided)
    assert rates(Claim("", "say", "Paris")) == 1.0


def test_without_a_calibrator_nothing_is_said_of_p_true(sample):
    found = report(sample, p=[[None] * len(one) for one in P])["context"]
    assert (found["n"], found["claims"], found["reasons"]["n"]) == (0, 7, "none fitted")
    assert found["precision"]["value"] == pytest.approx(5 / 7)
    assert found["ece"]["value"] != found["ece"]["value"]


def test_a_language_has_the_families_of_its_kinds_even_where_nothing_is_claimed():
    world = WorldLanguage()
    found = family_report([], Sample(torch.empty(0, 2), [], []), world, no_activation=[], text_only=None,
                          decodable=None, probes=None, others=[])  # fmt: skip
    assert list(found) == ["now", "context"]
    assert {one["n"] for one in found.values()} == {0}


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_an_activation_finds_itself_and_a_random_vector_by_chance(rng):
    candidates = torch.randn(2000, CANDIDATES, 12, generator=rng) + 3.0
    assert own_is_nearest(7 * candidates[:, 0], candidates).mean().item() == 1.0
    assert own_is_nearest(candidates[:, 1], candidates).mean().item() == 0.0
    blind = torch.randn(2000, 12, generator=rng)
    assert own_is_nearest(blind, candidates).mean().item() == pytest.approx(1 / CANDIDATES, abs=0.02)


def test_what_is_no_nearer_to_one_than_to_another_counts_its_share():
    candidates = torch.eye(2).repeat(CANDIDATES // 2, 1)[None]
    assert own_is_nearest(torch.tensor([[1.0, 0.0]]), candidates).item() == pytest.approx(2 / CANDIDATES)
    assert own_is_nearest(torch.tensor([[1.0, 1.0]]), candidates).item() == pytest.approx(1 / CANDIDATES)


def test_same_token_candidates_are_of_other_documents_at_the_same_token(rng):
    rows = [row(f"d{i % 20}", 40, "arts", token=i % 2) for i in range(40)]
    sample = Sample(torch.randn(40, 6, generator=rng), rows, [])
    pool = Sample(torch.randn(30, 6, generator=rng), [row(f"p{i}", 40, "arts", token=1) for i in range(30)], [])
    alone = same_token_lineup(sample, None, range(40), seed=0)
    assert alone.rows == []  # ten documents have each token
    found = same_token_lineup(sample, pool, range(40), seed=0)
    assert found.rows == [place for place in range(40) if place % 2]
    lenders = {tuple(vector.tolist()): one for part in (sample, pool)
               for vector, one in zip(part.vectors, part.rows, strict=True)}  # fmt: skip
    for place, candidates in zip(found.rows, found.candidates, strict=True):
        lent = [lenders[tuple(vector.tolist())] for vector in candidates]
        assert lent[0] is rows[place]
        assert {one.token_id for one in lent} == {1}
        assert len({one.document.doc_id for one in lent}) == CANDIDATES


def test_statements_of_some_families_are_taken_out_and_the_others_stay():
    kept = 'The topic is history. It names "Paris" and "Rome" as places. It is about to list things.'
    gone = 'A quote is open. The next token is "x", "y" or "z". The model is sure. It ends with "in the town".'
    said = f"{kept} {gone}"
    assert {claim.family for claim in TEXT.parse(said).claims} == {"next", "now", "ahead", "context"}
    assert without_families(TEXT, said, ECHO) == kept
    assert without_families(TEXT, kept, ECHO) == kept
    assert without_families(TEXT, gone, ECHO) is None
    assert without_families(TEXT, None, ECHO) is None


def test_a_spliced_text_has_the_labels_of_its_beginning_and_the_last_tokens_of_the_other():
    first = Document("a", "One two three. It was old.", labels={"tense": Label((Mark("present"), Mark("past", 18)))})
    second = Document("b", "Wait for the end here.", labels={"tense": Label((Mark("future"),))})
    ones, others = Row(first, 20, 26, 14, 7, 6), Row(second, 30, 22, 8, 8, 5)
    found = spliced(ones, others)
    assert (found.prefix, found.recent, found.token_id) == ("One two three. the end here.", " the end here.", 8)
    assert TEXT.facts(ones)["tense"].values == ("past",)
    assert TEXT.facts(found)["tense"].values == ("present",)


def test_claims_of_other_families_do_not_count(sample):
    judged = [Judged(0, Claim("", "topic", "history"), "true", True)]
    found = family_report(
        trusted(SAID, sample.rows, P), sample, TEXT, no_activation=judged, text_only=judged, decodable=None,
        probes=None, others=sample.facts,
    )  # fmt: skip
    assert (found["next"]["no_activation"]["n"], found["context"]["no_activation"]["n"]) == (0, 1)
    assert found["next"]["text_only"]["n"] == 0
