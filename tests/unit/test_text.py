"""Laws of the text language: what it writes it reads back, and every rule that decides a fact by words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legible.documents import Document
from legible.labels import Label, Mark
from legible.languages.base import ENDED, Claim, Row, judge
from legible.languages.surface import piece_value
from legible.languages.text import LANGUAGE
from legible.languages.text.ahead import agreed, words
from legible.languages.text.english import FAMILIES, KINDS, WORDINGS
from legible.languages.text.nouns import ACCEPTED
from legible.languages.text.state import in_question, speaker, state
from legible.languages.text.values import CLOSED, YES
from legible.teachers.language import LanguageTeacher

PIECES = (" the", "ing", ".", ",", '"', "\n", " ", "</s>", " “Yes”", "...", "Ġdog", "▁mom", "_", "/", "''")
TEXTS = st.one_of(
    st.text(max_size=120),
    st.lists(
        st.sampled_from(
            ["Marie", "went", "to", "Rome.", '"Why', "not?", "(I", "said)", "\n", "\n\n", "- One", "1. Two", "```", "_",
             "`x`", "What", "is", "“", "”", "<|im_start|>user\n", "<|im_end|>\n", "O'Hara", "/", "and", "or"]
        ),
        min_size=1,
        max_size=40,
    ).map(" ".join),
)  # fmt: skip


@st.composite
def labels(draw: st.DrawFn) -> dict[str, Label]:
    found = {
        kind: Label((Mark(draw(st.sampled_from(CLOSED[kind]))),))
        for kind in ("kind", "language", "topic", "about", "sentiment", "tense")
        if draw(st.booleans())
    }
    names = st.lists(st.sampled_from(["Marie Curie", "Rome", 'A "B" C', "São Paulo", "J. S. Bach", "and"]), max_size=4)
    return found | {kind: Label(tuple(map(Mark, draw(names)))) for kind in ("person", "place") if draw(st.booleans())}


@st.composite
def rows(draw: st.DrawFn) -> Row:
    text = draw(TEXTS.filter(bool))
    end = draw(st.integers(1, len(text)))
    return Row(
        Document("d", text, labels=draw(labels())), end, end, max(0, end - 8), 5, 4,
        predictions=tuple(draw(st.lists(st.sampled_from(PIECES), max_size=5))),
        top_probability=draw(st.none() | st.floats(0, 1)),
        continuations=tuple(draw(st.lists(TEXTS, max_size=3))),
    )  # fmt: skip


def said(claims: list[Claim]) -> set[tuple[str | None, str | None]]:
    return {(claim.relation, claim.value) for claim in claims}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(rows(), st.integers(0, 50))
def test_what_the_teacher_writes_is_read_back_whole_and_judged_true(row: Row, seed: int) -> None:
    (result,) = LanguageTeacher(LANGUAGE, seed=seed).write([row])
    parsed = LANGUAGE.parse(result.text)  # type: ignore[union-attr]
    assert said(parsed.claims) == said(list(result.claims))  # type: ignore[union-attr]
    assert parsed.unparsed == []
    facts = LANGUAGE.facts(row)
    assert {judge(claim, facts) for claim in parsed.claims} <= {"true"}
    assert all(claim.family == FAMILIES.get(claim.relation, "context") for claim in parsed.claims)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(rows(), st.data())
def test_any_known_facts_are_written_and_read_back(row: Row, data: st.DataObject) -> None:
    facts = LANGUAGE.facts(row)
    claims = [
        Claim("", kind, value)
        for kind, fact in facts.items()
        for value in (fact.values if kind in LANGUAGE.list_kinds else fact.values[:1])
        if value != "no" and data.draw(st.booleans())
    ]
    assert said(LANGUAGE.parse(LANGUAGE.write(claims, row, 0)).claims) == said(claims)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(rows())
def test_facts_do_not_look_ahead(row: Row) -> None:
    cut = Row(**{**vars(row), "document": Document("d", row.prefix, labels=row.document.labels)})
    assert LANGUAGE.facts(cut) == LANGUAGE.facts(row)


def test_a_reading_may_say_that_it_does_not_know() -> None:
    row = Row(Document("d", "Hi."), 1, 3, 0, 1, 1)
    text = LANGUAGE.write([Claim("", "topic", None), Claim("", "kind", "poem")], row, 3)
    assert "The topic is unknown." in text
    assert {(c.relation, c.value, c.abstains) for c in LANGUAGE.parse(text).claims} == {
        ("topic", None, True), ("kind", "poem", False)}  # fmt: skip


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ([("topic", "history"), ("topic", "arts")], "one value of 'topic' at a time"),
        ([("weather", "rain")], "cannot state 'weather'"),
        ([("in_list", "no")], "cannot state 'in_list' with 'no'"),
        ([("topic", "gardening")], "no topic 'gardening'"),
        ([("person", 'a "b"')], "cannot stand in quotation marks"),
        ([("person", None)], "cannot state 'person' with 'unknown'"),
    ],
)
def test_what_the_language_cannot_say_is_refused(claims: list[tuple[str, str | None]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LANGUAGE.write([Claim("", *claim) for claim in claims], Row(Document("d", "Hi."), 1, 3, 0, 1, 1), 0)


def test_every_kind_has_wordings_and_closed_sets_are_within_their_bounds() -> None:
    assert set(WORDINGS) | {"last_word_2", "last_word_3"} == set(KINDS)
    assert len(ACCEPTED) <= 300
    assert all(other in ACCEPTED for above in ACCEPTED.values() for other in above)
    assert "person" in ACCEPTED["physicist"]
    assert "physicist" not in ACCEPTED["person"]
    assert set(CLOSED) | set(YES) == set(LANGUAGE.probe_kinds)


def at(text: str, **labels: Label) -> Row:
    end = len(text.rstrip("|"))
    return Row(Document("d", text, labels=labels), end, end, max(0, end - 20), 1, 1)


def test_a_wider_noun_is_accepted_and_a_narrower_one_is_not() -> None:
    facts = LANGUAGE.facts(at("x", about=Label((Mark("physicist"),))))
    verdicts = [judge(Claim("", "about", noun), facts) for noun in ("physicist", "scientist", "person", "chemist")]
    assert verdicts == ["true", "true", "true", "false"]


def test_names_hold_from_where_they_are_named_and_their_words_alone_too() -> None:
    text = "Marie Curie met Paul Langevin"
    label = Label((Mark("Marie Curie", 11), Mark("Paul Langevin", len(text))))
    early, late = (LANGUAGE.facts(Row(Document("d", text, labels={"person": label}), 3, end, 0, 1, 1))["person"]
                   for end in (15, len(text)))  # fmt: skip
    assert (early.values, early.accepted) == (("Marie Curie",), ("Curie", "Marie"))
    assert late.values == ("Paul Langevin", "Marie Curie")


def test_labels_outside_of_the_closed_sets_decide_nothing() -> None:
    assert "topic" not in LANGUAGE.facts(at("x", topic=Label((Mark("Uncategorized"),))))


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ('He said, "I am', "in_quote", "yes"), ('He said, "I am."', "in_quote", "no"),
        ("He said “I", "in_quote", "yes"),
        ('"One\n\nTwo', "in_quote", "no"), ("It (a b", "in_bracket", "yes"), ("It (a) b", "in_bracket", "no"),
        ("1) One", "in_bracket", "no"), ("<|im_start|>user", "in_bracket", "no"), ("- One tw", "in_list", "yes"),
        ("Hm:\n2. Two", "in_list", "yes"), ("Hm:\n2. Two\n", "in_list", "no"), ("-5 degrees", "in_list", "no"),
        ("Run:\n```python\nx", "in_code", "yes"), ("Use `ls", "in_code", "yes"),
        ("Run:\n```\nx\n```\n", "in_code", "no"), ("Use `ls` to", "in_code", "no"),
        ("last\nword", "last_word_2", "/"), ('a "b"', "last_word", "''b''"),
    ],
)  # fmt: skip
def test_what_is_open_is_read_off_the_text(text: str, kind: str, value: str) -> None:
    assert state(text)[kind] == value


@pytest.mark.parametrize("text", ["What is the", "Hi. Do you know", "So, who was", "How many legs do", "Isn't it",
                                  "<|im_start|>user\nWhy did he", 'He asked, "Can you', "Who's"])  # fmt: skip
def test_a_question_is_known_by_its_beginning(text: str) -> None:
    assert in_question(text)


@pytest.mark.parametrize("text", ["What is it? It", "When he came, we", "What he said is", "He is the", "The question",
                                  "How to cook", "Where the river is", "Is it? No", "I know what is"])  # fmt: skip
def test_other_sentences_are_no_questions(text: str) -> None:
    assert not in_question(text)


@pytest.mark.parametrize(
    ("piece", "value"),
    [("▁the", "the"), ("Ġthe", "the"), (" the", "the"), ("ing", "-ing"), (".", "."), ("<0x0A>", "/"), ("Ċ", "/"),
     ("▁", "")],
)  # fmt: skip
def test_tokenizer_pieces_are_shown_as_words(piece: str, value: str) -> None:
    assert piece_value(piece) == value


CHATML = "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHel"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (CHATML, "assistant"), (CHATML[:30], "system"), (CHATML.split("<|im_end|>\n<|im_start|>assistant")[0], "user"),
        (CHATML + "lo<|im_end|>\n", "nobody"), (CHATML + "lo<|im_end|>\n<|im_start|>user", "nobody"),
        ("<start_of_turn>model\nHi", "assistant"), ("[INST] Hi", "user"), ("[INST] Hi [/INST] Yes", "assistant"),
        ("<|start_header_id|>user<|end_header_id|>\n\nHi", "user"), ("User: Hi\nAssistant: Yes", "assistant"),
        ("Once upon a time", "nobody"), ("The User: a book", "nobody"),
    ],
)  # fmt: skip
def test_who_speaks_is_read_off_the_markup_of_a_chat(text: str, value: str) -> None:
    assert speaker(text) == value


@pytest.mark.parametrize(
    ("kind", "prefix", "yes", "no"),
    [
        ("will_list", "Buy this:", "\n- Eggs", "\nEggs - and milk"),
        ("will_list", "Buy this:\n1", ". Eggs", " egg"),
        ("will_list", "Buy:\n- Eggs", "\n- Milk", " and milk"),
        ("will_ask", "Hello.", " How are you?", " Fine!"),
        ("will_refuse", "Sure:", " I'm sorry, but", " I am happy"),
        ("will_refuse", "Well, I", " cannot help", " can help"),
        ("will_refuse", "I'm sorry to hear it.", None, " Take care"),
        ("will_end", "The", " end." + ENDED, " end."),
        ("will_code", "Here:", "\n```python\n", "\n\n"),
        ("will_code", "```\nx", None, "\nprint(x)\n"),
        ("will_quote", "He said,", ' "Yes', " yes"),
        ("will_quote", 'He said, "Yes', None, '" and "no'),
        ("will_number", "In", " 1905", " May"),
        ("will_place", "The capital is", " Paris.", " unknown."),
        ("will_place", "I live in New", " York City", " houses"),
        ("will_person", "Ask", " Mary or", " the king"),
        ("will_person", "Ask Mr.", " Smith", " or"),
        ("will_yes", "Well?", " Yes, it", " Yesterday"),
        ("will_yes", "He said y", None, "es"),
        ("will_no", "Well?", "\nNo.", "\nNow"),
        ("will_line", "One", "\n", " two"),
    ],
)
def test_what_a_continuation_does_is_decided_on_its_words(
    kind: str, prefix: str, yes: str | None, no: str | None
) -> None:
    assert yes is None or agreed(prefix, [yes])[kind] == "yes"
    assert no is None or agreed(prefix, [no])[kind] == "no"


def test_the_words_of_a_continuation_are_whole() -> None:
    assert words("I like Par", "is and Rom") == ["Paris", "and"]
    assert words("I like Par", "is and Rome." + ENDED) == ["Paris", "and", "Rome"]
    assert agreed("I like", [" Paris and Rome "] * 3 + [" Oslo and Rome "])["say"] == (["Paris", "Rome"], ["and"])


@pytest.mark.parametrize(("agreeing", "value"), [(8, "yes"), (6, "yes"), (5, None), (3, None), (2, "no"), (0, "no")])
def test_six_of_eight_continuations_decide(agreeing: int, value: str | None) -> None:
    assert agreed("Well.", ["?"] * agreeing + ["."] * (8 - agreeing))["will_ask"] == value


@pytest.mark.parametrize(("share", "value"), [(0.7, "sure"), (0.69, "undecided"), (0.25, "undecided"), (0.2, "torn")])
def test_the_likeliest_token_decides_how_sure_the_model_is(share: float, value: str) -> None:
    row = Row(Document("d", "Hi."), 1, 3, 0, 1, 1, top_probability=share)
    assert LANGUAGE.facts(row)["certainty"].values == (value,)


@pytest.mark.parametrize(
    ("kind", "value", "text", "expected"),
    [
        ("place", "Rome", "They came to Rome", False),
        ("place", "Rome", "Rome is old, and they all came to see it", True),
        ("about", "river", "A land with many rivers", False),
        ("topic", "history", "Then the king of France died in 1715", True),
        ("language", "French", "Le roi de France est mort en 1715", False),
        ("in_quote", "yes", 'He said, "Yes', False),
        ("in_quote", "yes", 'He said, "Yes, we will all go to the sea and', True),
        ("in_question", "yes", "Do you know", False),
        ("in_question", "yes", "Do you know whether all of them went to the sea", True),
        ("last_word", "know", "Do you know", False),
        ("next_token", "know", "Do you know", False),
        ("next_token", "him", "Do you know", True),
        ("will_list", "yes", "Do you know", True),
        ("speaker", "user", "<|im_start|>user\nHi", False),
        ("speaker", "user", "<|im_start|>user\nHi, can you tell me where", True),
    ],
)
def test_a_context_claim_is_not_given_away_by_the_last_tokens(kind: str, value: str, text: str, expected: bool) -> None:
    assert LANGUAGE.in_context(Claim("", kind, value), at(text)) is expected


def test_a_tense_or_tone_that_just_began_is_given_away() -> None:
    text = "He went. She will go to the sea with all of them"
    label = Label((Mark("past", 7), Mark("future", 19)))
    for end, expected in ((22, False), (len(text), True)):
        row = Row(Document("d", text, labels={"tense": label}), 3, end, end - 20, 1, 1)
        assert LANGUAGE.in_context(Claim("", "tense", "future"), row) is expected


def test_a_claim_is_spelled_out_alone() -> None:
    claims = LANGUAGE.parse('It names "A" and "B" as people. It is not inside a list. It ends with "x y".').claims
    assert [LANGUAGE.in_plain_words(claim) for claim in claims] == [
        'It names "A" as a person.', 'It names "B" as a person.', "This is wrong: A list is open.",
        'The last word but 1 is "x".', 'The last word is "y".',
    ]  # fmt: skip


def test_without_what_is_copied_the_rest_stays_as_it_was() -> None:
    text = 'The topic is history. It names "A" as a person. A list is open. It ends with "x y".'
    assert LANGUAGE.without_copied(text, at("x"), 0) == "The topic is history. A list is open."
    assert LANGUAGE.without_copied('It ends with "x y".', at("x"), 0) is None


def test_wordings_differ_by_seed_and_repeat_for_a_seed() -> None:
    row = at("The king of France died.", topic=Label((Mark("history"),)), kind=Label((Mark("novel"),)))
    texts = [LanguageTeacher(LANGUAGE, seed=seed).write([row])[0].text for seed in range(20)]  # type: ignore[union-attr]
    assert len(set(texts)) > 5
    assert LanguageTeacher(LANGUAGE, seed=3).write([row])[0].text == texts[3]  # type: ignore[union-attr]
