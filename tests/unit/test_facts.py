"""Laws of the facts language: what it says is true of the text, and what it writes it reads back."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legible.documents import Document
from legible.languages.base import Claim, Row, judge
from legible.languages.facts.english import CLOSED_WORDINGS, OPEN_WORDINGS, TAIL_KINDS
from legible.languages.facts.language import FactsLanguage
from legible.languages.facts.text import analyse
from legible.languages.surface import piece_value
from legible.teachers.language import LanguageTeacher

STORY = (
    'Once upon a time, there was a girl named Lily. She went to the park with her dog.\n"Look, Spot!" said Lily, "a '
    'big red ball." Spot was happy. He ran to the ball and Tom came too. Tom was sad because the ball was his.'
)
LANGUAGE = FactsLanguage()
PIECES = ("▁the", "▁a", "ing", ".", ",", '"', "<0x0A>", "▁", "'s", "▁mom", "Ġdog", " cat", "</s>", "...", ",.")
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            [*STORY.split(), *STORY.split(), '"', "“Yes.”", "\n", "_", "/", "Mr.", "Smith's", "Ends:", "a,", "."]
        ),
        min_size=1,
        max_size=60,
    ).map(" ".join),
)


def row_at(text: str, end: int, **captured: object) -> Row:
    """The row of a token that ends at `end`; every character counts as a token of its own."""
    return Row(Document("doc", text), end, end, max(0, end - 8), 5, 4, **captured)  # type: ignore[arg-type]


def after(words: str, **captured: object) -> Row:
    return row_at(STORY, STORY.index(words) + len(words), **captured)


def pairs(claims: list[Claim]) -> set[tuple[str | None, str | None]]:
    return {(claim.relation, claim.value) for claim in claims}


@st.composite
def rows(draw: st.DrawFn) -> Row:
    text = draw(TEXTS.filter(bool))
    end = draw(st.integers(1, len(text)))
    predictions = tuple(draw(st.lists(st.sampled_from(PIECES), max_size=5)))
    return row_at(text, end, predictions=predictions, surprise=draw(st.none() | st.floats(0, 20)))


@settings(max_examples=300, deadline=None)
@given(rows(), st.integers(0, 50), st.data())
def test_any_known_facts_are_written_and_read_back_exactly(row: Row, seed: int, data: st.DataObject) -> None:
    facts = LANGUAGE.facts(row)
    known = [Claim("", kind, value) for kind, fact in facts.items() for value in fact.values]
    single = {kind: data.draw(st.booleans()) for kind in LANGUAGE.kinds}
    claims = [claim for claim in known if single[claim.relation or ""]]
    parsed = LANGUAGE.parse(LANGUAGE.write(claims, row, seed))
    assert pairs(parsed.claims) == pairs(claims)
    assert parsed.unparsed_words == 0


@settings(max_examples=200, deadline=None)
@given(rows(), st.integers(0, 50))
def test_whatever_the_teacher_writes_is_judged_true(row: Row, seed: int) -> None:
    (result,) = LanguageTeacher(LANGUAGE, seed=seed).write([row])
    facts = LANGUAGE.facts(row)
    verdicts = {judge(claim, facts) for claim in LANGUAGE.parse(result.text).claims}  # type: ignore[union-attr]
    assert verdicts <= {"true"}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_text_at_all_can_be_parsed(explanation: str) -> None:
    parsed = LANGUAGE.parse(explanation)
    assert all(claim.relation in LANGUAGE.kinds and claim.value for claim in parsed.claims)
    assert parsed.unparsed_words <= len(explanation.split())


@settings(max_examples=100, deadline=None)
@given(rows(), st.text(alphabet="abc XYZ.\"'\n", max_size=40))
def test_facts_do_not_look_ahead_except_for_what_counts_as_a_name(row: Row, rest: str) -> None:
    def blind(at: Row) -> dict[str, tuple[str, ...]]:
        return {k: f.values for k, f in LANGUAGE.facts(at).items() if k not in ("about", "named", "cast", "topic")}

    changed = row_at(f"{row.prefix} {rest}", row.char_end, predictions=row.predictions, surprise=row.surprise)
    whole = row_at(f"{row.prefix} ", row.char_end, predictions=row.predictions, surprise=row.surprise)
    broken = re.search(r"\n\s*\n", f"{row.prefix} {rest}")  # a line of spaces may become a break of paragraphs
    assert broken or blind(changed) == blind(whole)


def values(row: Row) -> dict[str, tuple[str, ...]]:
    return {kind: fact.values for kind, fact in LANGUAGE.facts(row).items()}


def test_a_story_is_followed_by_name_place_and_mood() -> None:
    early, late = values(after("girl named")), values(after("Tom was sad because the ball"))
    assert (early["about"], early["being"], early["place"], early["mood"]) == ((), ("girl",), (), ())
    assert (late["about"], late["named"], set(late["cast"])) == (("Lily",), ("Tom",), {"Lily", "Spot", "Tom"})
    assert (late["hero"], late["being"], late["place"], late["mood"]) == (("girl",), ("dog",), ("park",), ("sad",))
    assert late["pronoun"] == ("he",)


@pytest.mark.parametrize(
    ("words", "quote", "sentence"),
    [
        ("with her dog.", "outside", "end"),
        ('\n"', "inside", "start"),
        ("Look, Spot", "inside", "start"),
        ('Look, Spot!"', "outside", "end"),
        ("said Lily", "outside", "start"),
        ("a big red", "inside", "middle"),
        ("there was a girl", "outside", "middle"),
    ],
)
def test_quotations_and_sentences_are_known_at_every_token(words: str, quote: str, sentence: str) -> None:
    found = values(after(words))
    assert (found["quote"], found["sentence"]) == ((quote,), (sentence,))


def test_an_abbreviation_ends_no_sentence() -> None:
    text = "One day old Mr. Smith came home."
    assert LANGUAGE.facts(row_at(text, text.index("Smith") + 5))["sentence"].values == ("middle",)


def test_a_word_that_is_still_being_written_is_not_yet_said() -> None:
    assert values(after("girl named Lil"))["named"] == ()
    assert values(after("girl named Lil"))["last"] == ("Lil",)
    assert values(after("girl named Lily"))["named"] == ("Lily",)


def test_the_last_words_end_the_explanation_in_reading_order() -> None:
    row = after("with her")
    claims = [Claim("", kind, LANGUAGE.facts(row)[kind].values[0]) for kind in (*TAIL_KINDS, "about", "place")]
    assert all(LANGUAGE.write(claims, row, seed).endswith("park with her") for seed in range(9))


def test_predictions_and_surprise_come_from_the_target() -> None:
    row = after("with her", predictions=("▁dog", "s", "<0x0A>", "."), surprise=4.0)
    assert values(row)["next"] == ("dog", "-s", "/", ".")
    assert values(row)["surprise"] == ("high",)
    assert LANGUAGE.facts(after("with her"))["surprise"].status == "open"


@pytest.mark.parametrize(
    ("piece", "value"),
    [
        ("▁the", "the"),
        ("Ġthe", "the"),
        (" the", "the"),
        ("ing", "-ing"),
        (".", "."),
        ("<0x0A>", "/"),
        ("Ċ", "/"),
        ("▁", ""),
    ],
)
def test_tokenizer_pieces_are_shown_as_words(piece: str, value: str) -> None:
    assert piece_value(piece) == value


@pytest.mark.parametrize(
    ("kind", "value", "words", "expected"),
    [
        ("place", "park", "to the park", False),
        ("place", "park", "said Lily", True),
        ("named", "Spot", "said Lily", True),
        ("named", "Spot", '"Look, Spot', False),
        ("quote", "outside", "girl named", True),
        ("quote", "inside", "Look", False),
        ("sentence", "middle", "there was a girl", True),
        ("sentence", "start", "Lily. She", False),
        ("pronoun", "she", "to the park", True),
        ("pronoun", "she", "park with her", False),
        ("story", "opening", "girl", False),
        ("last", "girl", "girl", False),
        ("next", "-ing", "girl", True),
        ("next", "-irl", "girl", False),
    ],
)
def test_a_context_claim_is_not_given_away_by_the_last_tokens(
    kind: str, value: str, words: str, expected: bool
) -> None:
    assert LANGUAGE.in_context(Claim("", kind, value), after(words)) is expected


def test_no_wording_can_be_read_as_another() -> None:
    sentences = [wording for by_value in CLOSED_WORDINGS.values() for ws in by_value.values() for wording in ws]
    sentences += [wording.format("Xyz") for wordings in OPEN_WORDINGS.values() for wording in wordings]
    assert len(set(sentences)) == len(sentences)
    for kind, wordings in OPEN_WORDINGS.items():
        for wording in wordings:
            assert pairs(LANGUAGE.parse(wording.format("Xyz")).claims) == {(kind, "Xyz")}


def test_words_outside_any_statement_are_counted_and_the_rest_is_read() -> None:
    parsed = LANGUAGE.parse("About Lily. The blue sky blinked. At the park. Ends: with her")
    assert pairs(parsed.claims) == {("about", "Lily"), ("place", "park"), ("last", "her"), ("last2", "with")}
    assert parsed.unparsed_words == 4


def test_wordings_differ_by_seed_and_repeat_for_a_seed() -> None:
    row = after("with her")
    texts = [LanguageTeacher(LANGUAGE, seed=seed).write([row])[0].text for seed in range(20)]  # type: ignore[union-attr]
    assert len(set(texts)) > 15
    assert LanguageTeacher(LANGUAGE, seed=3).write([row])[0].text == texts[3]  # type: ignore[union-attr]


def test_under_a_limit_names_and_topics_go_with_what_a_probe_finds() -> None:
    row = after("Tom was sad")
    assert {"cast", "topic"} <= {claim.relation for claim in LANGUAGE.taught(row)}
    kinds = {claim.relation for claim in LANGUAGE.taught(row, {"quote", "place"})}
    assert kinds == {"quote", "place", "topic", *TAIL_KINDS}
    assert {"cast", "named"} <= {claim.relation for claim in LANGUAGE.taught(row, {"named"})}


def test_two_values_of_a_single_valued_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="one value of 'place' at a time, got park, house"):
        LANGUAGE.write([Claim("", "place", "park"), Claim("", "place", "house")], after("girl"), 0)
    with pytest.raises(ValueError, match="cannot state 'weather' with 'rain'"):
        LANGUAGE.write([Claim("", "weather", "rain")], after("girl"), 0)


def test_every_fact_of_a_story_is_among_its_words() -> None:
    for match in re.finditer(r"\S+", STORY):
        row = row_at(STORY, match.end())
        text = analyse(STORY)
        said = {word.lower for word in text.words[: text.words_before(match.end())]}
        for kind in ("about", "named", "cast", "being", "place", "mood", "hero", "topic"):
            assert {value.lower() for value in LANGUAGE.facts(row)[kind].values} <= said
