"""Claims keep their place: spans, deletions and tokens of explanations in both languages and in free text."""

from collections import Counter

import pytest

from legible.documents import Document
from legible.labels import Label, Mark
from legible.languages.base import Claim, Row, parsed_by
from legible.languages.text import LANGUAGE as TEXT
from legible.languages.world import WorldLanguage, build_tokenizer, story_document
from legible.reading.spans import claim_spans, token_spans, without

WORLD = WorldLanguage()
STORY = "Hero Bruno is a fox, is at the harbor, it is noon. The hero feels sad, wants the crown. Inside a sentence."


def pieces(language, text: str) -> dict[tuple[str, str], str | None]:
    claims = language.parse(text).claims
    spans = claim_spans(text, claims)
    return {(c.relation, c.value): text[s[0] : s[1]] if s else None for c, s in zip(claims, spans, strict=True)}


def deleted(language, text: str, value: str | None) -> str:
    claims = language.parse(text).claims
    return without(text, claims, [claim.value for claim in claims].index(value))


def test_claims_of_the_world_stand_in_their_clauses_and_share_one_by_their_values():
    assert pieces(WORLD, STORY) == {
        ("name", "Bruno"): "Hero Bruno",
        ("species", "fox"): "is a fox",
        ("place", "harbor"): "is at the harbor",
        ("time", "noon"): "it is noon",
        ("mood", "sad"): "The hero feels sad",
        ("want", "crown"): "wants the crown",
        ("edge", "mid"): "Inside a sentence",
    }


@pytest.mark.parametrize(
    ("text", "value", "left"),
    [
        ("The hero is a fox, is at the harbor.", "harbor", "The hero is a fox."),
        ("The hero is a fox, is at the harbor.", "fox", "The hero is at the harbor."),
        ("The hero is a fox, it is noon.", "fox", "The hero: it is noon."),
        ("The hero: it is noon, there is rain.", "noon", "The hero: there is rain."),
        ("Hero Bruno is a fox.", "fox", "Hero Bruno."),
        ("Hero Bruno is a fox.", "Bruno", "The hero is a fox."),
        ("Bruno. The hero feels sad.", "Bruno", "The hero feels sad."),
        ("Boris is near, it lies in the barn.", "Boris", "It lies in the barn."),
        ("The hero is a fox. Inside a sentence.", "mid", "The hero is a fox."),
        ("The hero feels sad, the plan is unknown.", None, "The hero feels sad."),
        ("The hero is a fox.", "fox", ""),
    ],
)
def test_a_clause_goes_with_its_comma_and_leaves_the_subject(text, value, left):
    assert deleted(WORLD, text, value) == left


def test_free_text_loses_a_sentence():
    text = "He is here; he runs. A cat!"
    claims = parsed_by(None, text).claims
    assert [without(text, claims, i) for i in range(3)] == [
        "he runs. A cat!",
        "He is here; A cat!",
        "He is here; he runs.",
    ]


def test_a_claim_that_is_not_in_the_text_has_no_span_and_deletes_nothing():
    claims = [Claim("is a hare", "species", "hare")]
    assert claim_spans(STORY, claims) == [None]
    assert without(STORY, claims, 0) == STORY


def rows(count: int) -> list[Row]:
    documents = [story_document("train", 5, index) for index in range(count)]
    return [Row(d, 60 + i, len(d.text) * 2 // 3, len(d.text) // 2, 5, 6) for i, d in enumerate(documents)]


@pytest.mark.parametrize("held_out", [False, True])
def test_deleting_a_claim_of_the_world_leaves_exactly_the_others(held_out):
    for row in rows(25):
        facts = WORLD.facts(row).values()
        text = WORLD.write(
            [Claim("", f.relation, f.values[0] if f.values else None) for f in facts], row, 0, held_out=held_out
        )
        check_deletions(WORLD, text)


def test_deleting_a_claim_of_the_text_language_leaves_exactly_the_others():
    words = 'Tom and Sue of Rome went to the house. Tom said: "Do you see the sad dog (and the old cat'
    labels = {
        "person": Label((Mark("Tom"), Mark("Sue"))),
        "place": Label((Mark("Rome"),)),
        "topic": Label((Mark("arts"),)),
    }
    row = Row(
        Document("d", words, labels=labels), 30, len(words), len(words) - 20, 5, 6,
        predictions=(" the", "a", "'", "ing"), top_probability=0.9,
        continuations=(' there?" she asked', ' there?" Tom asked'),
    )  # fmt: skip
    for seed in range(30):
        claims = [
            Claim("", kind, value)
            for kind, fact in TEXT.facts(row).items()
            for value in (fact.values[:3] if kind in TEXT.list_kinds else fact.values[:1])
            if value != "no"
        ]
        check_deletions(TEXT, TEXT.write(claims, row, seed))


def check_deletions(language, text: str) -> None:
    claims = language.parse(text).claims
    assert claims
    for index, claim in enumerate(claims):
        left = language.parse(without(text, claims, index))
        expected = Counter((c.relation, c.value) for c in claims)
        expected[claim.relation, claim.value] -= 1
        assert Counter((c.relation, c.value) for c in left.claims) == +expected, (text, claim)
        assert left.unparsed_words == 0


def test_the_tokens_of_a_span_spell_it_whether_or_not_the_stop_token_is_there():
    tokenizer = build_tokenizer()
    ids = tokenizer(STORY, add_special_tokens=False)["input_ids"]
    spans = claim_spans(STORY, WORLD.parse(STORY).claims)
    for more in ([], [tokenizer.eos_token_id]):
        found = token_spans(tokenizer, [*ids, *more], [*spans, None], STORY)
        assert found.pop() == []
        for span, tokens in zip(spans, found, strict=True):
            spelled = tokenizer.decode([ids[i] for i in tokens]).replace(" ", "")
            assert spelled == STORY[span[0] : span[1]].replace(" ", "")


def test_a_completion_that_its_tokenizer_would_write_otherwise_is_decoded_piece_by_piece():
    tokenizer = build_tokenizer()
    ids = [
        *tokenizer.convert_tokens_to_ids(["▁", "<0x66>", "<0x6F>", "<0x78>"]),
        *tokenizer(" feels sad", add_special_tokens=False)["input_ids"],
    ]
    text = tokenizer.decode(ids)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] != ids
    start = text.index("feels")
    (found,) = token_spans(tokenizer, ids, [(start, len(text))])
    assert tokenizer.decode([ids[i] for i in found]).strip() == "feels sad"


TEXTUAL = 'The topic is history. It names "A", "B, C" and "D" as people. The last words are "A of D".'


def test_quoted_values_that_share_a_sentence_have_each_their_place() -> None:
    claims = TEXT.parse(TEXTUAL).claims
    spans = claim_spans(TEXTUAL, claims)
    said = [TEXTUAL[slice(*span)] for span in spans if span is not None]
    assert said == ["The topic is history.", '"A"', '"B, C"', '"D"', "A", "of", "D"]


@pytest.mark.parametrize(
    ("index", "left"),
    [
        (0, 'It names "A", "B, C" and "D" as people. The last words are "A of D".'),
        (1, 'The topic is history. It names "B, C" and "D" as people. The last words are "A of D".'),
        (3, 'The topic is history. It names "A" and "B, C" as people. The last words are "A of D".'),
        (4, 'The topic is history. It names "A", "B, C" and "D" as people. The last words are "of D".'),
        (6, 'The topic is history. It names "A", "B, C" and "D" as people. The last words are "A of _".'),
    ],
)
def test_without_one_of_them_the_others_stay_claims(index: int, left: str) -> None:
    claims = TEXT.parse(TEXTUAL).claims
    assert without(TEXTUAL, claims, index) == left
    kept = [claim.key for at, claim in enumerate(claims) if at != index]
    assert [claim.key for claim in TEXT.parse(left).claims] == kept
