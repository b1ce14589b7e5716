"""The text language's parser and the one judge against a generator that knows what it says.

Sentences are grown from the language's grammar; the generator keeps of each what it states and whether the row's
labels, text and target make that true. Nothing here asks the parser what it thinks.
"""

import random
import re
from collections.abc import Iterator

import pytest

from legible.documents import Document
from legible.labels import Label, Mark
from legible.languages.base import Row, judge
from legible.languages.text import LANGUAGE
from legible.languages.text.english import LAST, WORDINGS
from legible.languages.text.values import CLOSED, YES

STORY = 'Marie met Paul in Rome. Paul was glad. He said, "Do you like'
LABELS = {
    "kind": "novel", "language": "English", "topic": "everyday life", "about": "physicist", "sentiment": "positive",
    "tense": "past", "person": ["Marie", "Paul"], "place": ["Rome"],
}  # fmt: skip
DOCUMENT = Document(
    "d",
    STORY,
    labels={kind: Label(tuple(map(Mark, [said] if isinstance(said, str) else said))) for kind, said in LABELS.items()},
)
ROW = Row(
    DOCUMENT, 20, len(STORY), len(STORY) - 22, 5, 4,
    predictions=(" Rome", "?", " me"), top_probability=0.9, continuations=(" Paris?\n- One", " Paris?\n- Two"),
)  # fmt: skip
TRUE = {
    **{kind: {said} if isinstance(said, str) else set(said) for kind, said in LABELS.items()},
    "speaker": {"nobody"}, "in_quote": {"yes"}, "in_bracket": {"no"}, "in_list": {"no"}, "in_code": {"no"},
    "in_question": {"yes"}, "say": {"Paris"}, "will_list": {"yes"}, "will_ask": {"yes"}, "will_refuse": {"no"},
    "will_end": {"no"}, "will_code": {"no"}, "will_quote": {"no"}, "will_number": {"no"}, "will_place": {"yes"},
    "will_person": {"no"}, "will_yes": {"no"}, "will_no": {"no"}, "will_line": {"yes"}, "certainty": {"sure"},
    "next_token": {"Rome", "?", "me"}, "last_word": {"like"}, "last_word_2": {"you"}, "last_word_3": {"''Do"},
}  # fmt: skip
ACCEPTED = {"about": {"person", "scientist"}}
VALUES = sorted({value for values in CLOSED.values() for value in values})
NAMES = ("Rome", "Marie", "like", "physicist", "sure", "yes", "a word", "Paris", "The topic is history.")
HIDING = (
    "If {}", "Perhaps {}", "They say that {}", "Tom thinks: {}", "It is not true that {}", "{} or not.", "Unless {}",
    '"{}"', 'He wrote "Hm. {}"', "Nobody knows whether {}", "{} in part.", "The reader says {}",
)  # fmt: skip


def verdict(kind: str, value: str, denied: bool) -> str:
    return "true" if (value in TRUE[kind] | ACCEPTED.get(kind, set())) is not denied else "false"


def read(text: str) -> list[tuple[str | None, str | None, bool, str]]:
    facts = LANGUAGE.facts(ROW)
    return [(c.relation, c.value, c.polarity == "negative", judge(c, facts)) for c in LANGUAGE.parse(text).claims]


def said_in(wording: str, value: str) -> str:
    """The wording with a value in its place, the verb still marked."""
    wording = wording.split("|")[0]
    article = "an" if value[0] in "aeiou" else "a"
    filled = wording.replace("{v}", value).replace("{a}", f"{article} {value}")
    return re.sub(r"\{(q|and|or)\}", f'"{value}"', filled).rstrip(".") + "."


def sentences(held_out: bool = False) -> Iterator[tuple[str, str, str]]:
    """(kind, value, sentence) of every wording with every value of the language, whosever value it is."""
    for kind, wordings in WORDINGS.items():
        for wording in wordings.held_out if held_out else wordings.seen:
            if kind in YES:
                yield kind, "yes", wording
            for value in VALUES if kind in CLOSED else NAMES if kind not in YES else ():
                if kind != LAST[0] or " " not in value:
                    yield kind, value, said_in(wording, value)


def spoken(sentence: str) -> str:
    return re.sub(r"\[(\w+)\]", r"\1", sentence)


def denied(sentence: str) -> list[str]:
    verb = re.search(r"\[(\w+)\]", sentence)
    assert verb is not None
    said = verb[1]
    nots = {"is": "is not|isn't|is never|is no longer", "are": "are not|aren't|are never|are no longer",
            "will": "will not|won't|will never|will no longer"}.get(
                said, f"does not {said[:-1]}|doesn't {said[:-1]}|never {said}|no longer {said}")  # fmt: skip
    return [sentence.replace(verb[0], no) for no in nots.split("|")]


def test_the_generator_knows_every_fact_of_its_row() -> None:
    facts = LANGUAGE.facts(ROW)
    assert {kind: set(fact.values) for kind, fact in facts.items()} == TRUE
    assert set(facts["about"].accepted) == ACCEPTED["about"]


def test_a_value_of_another_relation_is_a_claim_of_the_relation_that_the_words_name() -> None:
    for kind, value, sentence in sentences():
        assert read(spoken(sentence)) == [(kind, value, False, verdict(kind, value, False))], sentence


def test_every_denial_is_read_as_one() -> None:
    for kind, value, sentence in random.Random(1).sample(list(sentences()), 1500):
        for no in denied(sentence):
            assert read(no) == [(kind, value, True, verdict(kind, value, True))], no


def test_a_quoted_value_in_the_place_of_a_closed_one_is_a_wrong_one() -> None:
    assert read('The topic is "Paris".') == [("topic", "Paris", False, "false")]
    assert read('It describes "Marie".') == [("about", "Marie", False, "false")]
    assert LANGUAGE.unusual(LANGUAGE.parse('The topic is "Paris".').claims[0]) is not None


def test_an_unquoted_value_in_the_place_of_a_name_says_nothing() -> None:
    for text in ("It names geography as a person.", "The next token is Rome.", "It ends with like.",
                 "The topic is rather vague.", "It is inside a river.", "It is about to sing."):  # fmt: skip
        assert LANGUAGE.parse(text).claims == [], text
        assert LANGUAGE.parse(text).unparsed == [text]


@pytest.mark.parametrize("hiding", HIDING)
def test_what_only_holds_a_statement_states_nothing(hiding: str) -> None:
    for _, _, sentence in random.Random(2).sample(list(sentences()), 300):
        text = spoken(sentence)
        if '"' in hiding and '"' in text:
            continue  # a quotation in a quotation ends the outer one
        inner = text if hiding.startswith("{}") else text[0].lower() + text[1:]
        whole = hiding.format(text if hiding.endswith('"') else inner.rstrip(".") if hiding[:2] == "{}" else inner)
        parsed = LANGUAGE.parse(whole)
        assert parsed.claims == [], whole
        assert " ".join(parsed.unparsed) == whole


def test_a_sentence_inside_of_a_quoted_value_is_no_sentence() -> None:
    assert read('It ends with "topic is history.".') == [
        ("last_word_3", "topic", False, "false"),
        ("last_word_2", "is", False, "false"),
        ("last_word", "history.", False, "false"),
    ]
    assert [claim[:2] for claim in read('The next token is "x. The topic is history.".')] == [
        ("next_token", "x. The topic is history.")
    ]
    assert read('They wrote "x. The topic is history. So it is') == []


def test_of_a_list_each_value_is_a_claim_and_the_conjunction_counts() -> None:
    assert read('It names "Marie", "Paul" and "Otto" as people.') == [
        ("person", "Marie", False, "true"), ("person", "Paul", False, "true"), ("person", "Otto", False, "false"),
    ]  # fmt: skip
    assert read('The next token is "Rome" or "x".') == [
        ("next_token", "Rome", False, "true"), ("next_token", "x", False, "false")]  # fmt: skip
    assert read('The next token is not "Rome" or "x".') == [
        ("next_token", "Rome", True, "false"), ("next_token", "x", True, "true")]  # fmt: skip
    for text in ('It names "Marie" or "Paul" as people.', 'The next token is "Rome" and "x".',
                 'It does not name "Marie" and "Otto" as people.', 'It does not end with "you like".'):  # fmt: skip
        assert read(text) == [], text


def test_no_wording_is_two_and_held_out_ones_are_not_read() -> None:
    seen = [spoken(each) for _, _, each in sentences()]
    assert len(set(seen)) == len(seen)
    for _, _, sentence in sentences(held_out=True):
        assert LANGUAGE.parse(spoken(sentence)).claims == [], sentence


def test_a_third_of_the_wordings_is_held_out() -> None:
    assert all(len(each.held_out) * 2 == len(each.seen) for each in WORDINGS.values())


def test_words_in_another_order_claim_nothing() -> None:
    draws = random.Random(3)
    for _, _, sentence in draws.sample(list(sentences()), 200):
        words = spoken(sentence).rstrip(".").split()
        shuffled = draws.sample(words, len(words))
        if shuffled != words and '"' not in sentence:
            assert LANGUAGE.parse(" ".join(shuffled) + ".").claims == [], shuffled


def test_what_nobody_decided_is_unknown_and_what_is_decided_to_be_none_is_false() -> None:
    bare = Row(Document("d", STORY), 20, len(STORY), len(STORY) - 22, 5, 4)
    facts = LANGUAGE.facts(bare)
    undecided = {kind for kind in TRUE if kind not in facts}
    assert undecided == {*LABELS, *(kind for kind in TRUE if kind == "say" or kind.startswith("will_")),
                         "certainty", "next_token"}  # fmt: skip
    for kind, _, sentence in sentences():
        [claim] = LANGUAGE.parse(spoken(sentence)).claims
        assert (judge(claim, facts) == "unknown") == (kind in undecided)
    nobody = Row(Document("d", STORY, labels={"person": Label(())}), 20, len(STORY), len(STORY) - 22, 5, 4)
    [claim] = LANGUAGE.parse('It names "Otto" as a person.').claims
    assert judge(claim, LANGUAGE.facts(nobody)) == "false"
    [claim] = LANGUAGE.parse('It does not name "Otto" as a person.').claims
    assert judge(claim, LANGUAGE.facts(nobody)) == "true"


def test_what_too_few_continuations_agree_on_is_open() -> None:
    halves = Row(DOCUMENT, 20, len(STORY), 0, 5, 4, continuations=("?",) * 4 + (".",) * 4)
    most = Row(DOCUMENT, 20, len(STORY), 0, 5, 4, continuations=("?",) * 6 + (".",) * 2)
    [claim] = LANGUAGE.parse("It is about to ask.").claims
    assert [judge(claim, LANGUAGE.facts(row)) for row in (halves, most)] == ["open", "true"]
    [denial] = LANGUAGE.parse("It is not about to ask.").claims
    assert [judge(denial, LANGUAGE.facts(row)) for row in (halves, most)] == ["open", "false"]


def test_any_text_can_be_parsed_and_no_word_is_lost() -> None:
    draws = random.Random(4)
    pieces = [
        *(spoken(s) for _, _, s in draws.sample(list(sentences()), 60)),
        '"',
        ".",
        "The topic is",
        "and",
        "not",
        "?",
    ]
    for _ in range(300):
        text = " ".join(draws.choices(pieces, k=6))
        parsed = LANGUAGE.parse(text)
        kept = [*dict.fromkeys(claim.text for claim in parsed.claims), *parsed.unparsed]
        assert set(text.split()) == set(" ".join(kept).split())
