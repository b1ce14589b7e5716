"""The world: stories, facts, English and the tokenizer, as laws over random stories."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legible.errors import UsageError
from legible.languages.base import Claim, Row, judge
from legible.languages.world import (
    IMPLIED_KINDS,
    KINDS,
    VALUES,
    WorldLanguage,
    build_tokenizer,
    forms,
    lexicon,
    story,
    story_document,
)
from legible.languages.world.tokenizer import words

LANGUAGE = WorldLanguage()
TOKENIZER = build_tokenizer()
SPLITS = st.sampled_from(["pretrain", "train", "dev", "test"])
INDEX = st.integers(0, 10**6)


def rows_of(document):
    """Every token of a document as a Row."""
    encoded = TOKENIZER(document.text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    return [
        Row(document, pos, offsets[pos][1], offsets[max(1, pos - 7)][0], ids[pos], ids[pos - 1])
        for pos in range(1, len(ids))
    ]


def true_claims(row):
    return [Claim("", kind, fact.values[0]) for kind, fact in LANGUAGE.facts(row).items() if fact.status != "open"]


def all_forms():
    tables = (forms.INTRO, forms.STATE, forms.REMINDERS, forms.RECAP)
    return [
        *(f for table in tables for group in table.values() for f in group),
        *forms.MOVE,
        *forms.SEEN,
        *forms.UNSEEN,
    ]


def test_the_world_is_as_large_as_it_claims():
    free = math.prod(len(VALUES[kind]) for kind in KINDS if kind not in IMPLIED_KINDS)
    assert len({word.lower() for word in words()}) >= 500
    assert len(all_forms()) >= 60
    assert len(KINDS) >= 12
    assert len(IMPLIED_KINDS) >= 3
    assert free > 100_000


def test_a_third_of_every_list_of_wordings_is_held_out():
    for table in (forms.INTRO, forms.STATE, forms.REMINDERS, forms.RECAP):
        for group in table.values():
            assert len(group) % 3 == 0
            assert set(lexicon.usable(group, "train")).isdisjoint(lexicon.usable(group, "test"))
            assert len(lexicon.usable(group, "test")) == len(group) // 3
            assert lexicon.usable(group, "train") == lexicon.usable(group, "dev")


def test_no_form_says_a_value_by_accident():
    values = {value for kind in KINDS for value in VALUES[kind]}
    for form in (*all_forms(), *forms.FILLERS):
        assert not values & set(re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", "", form))), form


def test_values_of_different_kinds_are_different_words_except_spot_and_belief():
    kinds = [kind for kind in KINDS if kind != "belief"]
    everything = [value for kind in kinds for value in VALUES[kind]]
    assert len(everything) == len(set(everything))
    assert VALUES["spot"] == VALUES["belief"]


@given(SPLITS, st.integers(0, 5), INDEX)
@settings(max_examples=60, deadline=None)
def test_a_story_is_a_pure_function_of_its_id(split, seed, index):
    document = story_document(split, seed, index)
    story.cache_clear()
    assert story(document.doc_id).text == document.text
    assert story(document.doc_id).nats > 0


@given(SPLITS, INDEX)
@settings(max_examples=60, deadline=None)
def test_every_statement_ends_where_its_word_stands(split, index):
    tale = story(story_document(split, 0, index).doc_id)
    for statement in tale.statements:
        if not statement.implied:
            assert tale.text[: statement.char_end].endswith(statement.value)
    assert list(tale.statements) == sorted(tale.statements, key=lambda s: s.char_end)


@given(SPLITS, INDEX)
@settings(max_examples=60, deadline=None)
def test_at_the_end_every_fact_is_known_and_is_the_final_state(split, index):
    document = story_document(split, 0, index)
    facts = LANGUAGE.facts(rows_of(document)[-1])
    assert {kind: facts[kind].values[0] for kind in KINDS} == story(document.doc_id).state


@given(INDEX)
@settings(max_examples=40, deadline=None)
def test_test_stories_use_only_held_out_combinations_and_training_stories_none(index):
    for split, expected in (("train", False), ("dev", False), ("test", True)):
        state = story(story_document(split, 0, index).doc_id).state
        for first, second in lexicon.COMBINATIONS:
            assert lexicon.held_out_combination(state[first], state[second]) is expected


def test_the_held_out_layout_never_reaches_training():
    layouts = {
        split: {story(f"world-{split}-0-{i:06d}").layout for i in range(200)} for split in ("train", "dev", "test")
    }
    assert forms.HELD_OUT_LAYOUT in layouts["test"]
    assert forms.HELD_OUT_LAYOUT not in layouts["train"] | layouts["dev"]


def test_who_did_not_see_the_move_keeps_the_old_belief():
    assert lexicon.belief_for("jar", "well", witnessed=False) == "jar"
    assert lexicon.belief_for("jar", "well", witnessed=True) == "well"
    assert lexicon.belief_for("jar", None, witnessed=False) == "jar"
    differ = [s for s in (story(f"world-train-0-{i:06d}") for i in range(200)) if s.state["spot"] != s.state["belief"]]
    assert 20 < len(differ) < 90  # half are moved, half of those unseen


def test_rules_imply_facts_before_the_text_says_them():
    implied = {kind: 0 for kind in KINDS}
    for index in range(60):
        for row in rows_of(story_document("train", 1, index)):
            for kind, fact in LANGUAGE.facts(row).items():
                implied[kind] = implied.get(kind, 0) + (fact.status == "implied")
    assert all(implied[kind] > 0 for kind in IMPLIED_KINDS)
    assert not any(implied[kind] for kind in KINDS if kind not in IMPLIED_KINDS)


@given(SPLITS, INDEX, st.integers(0, 400), st.booleans())
@settings(max_examples=80, deadline=None)
def test_the_parser_inverts_the_writer_in_seen_and_held_out_wordings(split, index, at, held_out):
    rows = rows_of(story_document(split, 0, index))
    row = rows[at % len(rows)]
    claims = true_claims(row)
    text = LANGUAGE.write(claims, row, seed=at, held_out=held_out)
    parsed = LANGUAGE.parse(text)
    assert {(c.relation, c.value) for c in parsed.claims} == {(c.relation, c.value) for c in claims}
    assert parsed.unparsed_words == 0 or "hero" in text.lower() or "one" in text.lower()


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_text_parses_without_an_error_and_round_trips_through_the_tokenizer(text):
    for claim in LANGUAGE.parse(text).claims:
        assert claim.relation in LANGUAGE.kinds
    plain = re.sub(r"\s+", " ", text).strip()
    if "▁" not in plain and not re.search(r"<(pad|s|/s|unk|0x[0-9A-F]{2})>", plain) and plain == text:
        assert TOKENIZER.decode(TOKENIZER(plain)["input_ids"][1:]) == plain


def test_an_unknown_claim_is_an_abstention_and_a_wrong_one_is_false():
    row = rows_of(story_document("train", 0, 0))[-1]
    facts = LANGUAGE.facts(row)
    unknown = LANGUAGE.parse("the mood is unknown").claims[0]
    assert (unknown.relation, unknown.value) == ("mood", None)
    assert judge(unknown, facts) == "abstain"
    wrong = next(v for v in VALUES["mood"] if v not in facts["mood"].values)
    assert judge(Claim("", "mood", wrong), facts) == "false"
    assert judge(Claim("", "mood", facts["mood"].values[0]), facts) == "true"
    assert judge(Claim("free text"), facts) == "unknown"


def test_a_claim_about_words_just_read_is_no_context_claim():
    row = rows_of(story_document("train", 0, 0))[-1]
    recent = re.findall(r"[A-Z]?[a-z]+", row.recent)
    for claim in true_claims(row):
        if claim.relation in KINDS:
            assert LANGUAGE.in_context(claim, row) == (claim.value not in recent)
        else:
            assert not LANGUAGE.in_context(claim, row)


def test_told_reads_the_first_value_that_a_continuation_states():
    found = LANGUAGE.told(
        "Mira believed it was in", " the jar. The ring lay in the well. Mira felt proud. Deep inside Mira was sad."
    )
    assert found == {"belief": "jar", "want": "ring", "spot": "well", "name": "Mira", "mood": "proud"}


def test_told_goes_by_the_form_and_not_by_the_value():
    assert LANGUAGE.told("Mira was sad. She was at", " the hammer. A hammer fell.") == {"place": "hammer"}
    assert LANGUAGE.told("", "- Milo never saw a fox. Entry: He searched the jar for") == {"belief": "jar"}
    assert LANGUAGE.told("Olga the rival knew", " the ring was in the jar.") == {"want": "ring", "spot": "jar"}


@pytest.mark.parametrize("sentences", [1, 2, 3])
def test_a_short_text_is_so_many_sentences_of_the_world_whose_facts_are_known(sentences):
    for document in LANGUAGE.documents("test", 5, 100, sentences=sentences):
        assert LANGUAGE.accepted("", document.text, cut=False) == (sentences, sentences)
        assert LANGUAGE.left_at(document.text) is None
        assert LANGUAGE.knows(document)
        assert LANGUAGE.entropy(document) is None
        said = set(re.findall(r"\w+", document.text))
        for kind, fact in LANGUAGE.facts(rows_of(document)[-1]).items():
            if kind != "edge" and fact.status == "stated":
                assert fact.values[0] in said


def test_short_texts_of_test_are_held_out_and_no_two_splits_share_one():
    texts = {split: {one.text for one in LANGUAGE.documents(split, 0, 300, sentences=2)}
             for split in ("train", "calibrate", "test")}  # fmt: skip
    assert not texts["test"] & (texts["train"] | texts["calibrate"])
    tables = (forms.INTRO, forms.STATE, forms.REMINDERS, forms.RECAP, {"filler": forms.FILLERS})
    held_out = {re.sub(r"\\{\w+\\}", r"\\w+", re.escape(form)) for table in tables for group in table.values()
                for form in group[2::3]}  # fmt: skip
    wording = re.compile("|".join(held_out))
    for split, found in texts.items():
        sentences = [said for text in found for said in re.findall(r"[^ .?!][^.?!]*[.?!]", text)]
        assert len(sentences) == 2 * len(found)
        assert {wording.fullmatch(said) is not None for said in sentences} == {split == "test"}


def test_in_a_short_text_the_place_of_a_moved_thing_says_nothing_of_what_is_believed():
    places = [story(one.doc_id) for one in LANGUAGE.documents("train", 0, 2000, sentences=1)]
    spots = [tale for tale in places if any(said.kind == "spot" for said in tale.statements)]
    moved = [tale for tale in spots if tale.state["spot"] in lexicon.SECOND_SPOTS]
    assert len(spots) > len(moved) > 0
    for tale in spots:
        assert any(said.kind == "belief" for said in tale.statements) == (tale not in moved)


@pytest.mark.parametrize("sentences", [0, 4, -1])
def test_a_text_of_more_sentences_is_refused(sentences):
    with pytest.raises(UsageError, match=f"text of {sentences} sentences is asked for, expected 1 to 3"):
        story_document("test", 0, 0, sentences=sentences)


def test_an_id_from_elsewhere_is_refused():
    with pytest.raises(UsageError, match="is not a text of the world"):
        story("book-17")
