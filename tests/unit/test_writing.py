"""The lint of the writing: what counts as a repeat, as unfinished, and as a word per claim."""

import pytest

from legible.evaluate.writing import repeats, unfinished, writing
from legible.languages.text import LANGUAGE


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        ("The topic is history. The tense is past.", False),
        ("The topic is history. The subject is history.", True),  # one claim in two wordings
        ('The next token is "I", "I" or "you".', True),
        ("Words of no claim. Words of no claim.", True),
        ("", False),
    ],
)
def test_a_claim_or_a_sentence_made_twice_is_a_repeat(text, twice):
    assert repeats(text, LANGUAGE) is twice


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("The topic is history.", False),
        ("The topic is", True),
        ('It ends with "the end."', False),
        ('It ends with "the end".', False),
        ('It ends with "the', True),
        ("", True),
    ],
)
def test_a_text_that_stops_within_a_sentence_is_unfinished(text, cut):
    assert unfinished(text) is cut


def test_failed_parses_count_in_no_share_and_add_no_words():
    texts = ["The topic is history. The tense is past.", "The topic is", None, "The topic is history. It"]
    found = writing(texts, ["a", "b", "c", "d"], LANGUAGE)
    assert found["repeats"]["value"] == 0.0
    assert found["unfinished"]["value"] == pytest.approx(2 / 3)
    assert found["unfinished"]["n"] == 3
    assert found["words_per_claim"]["value"] == pytest.approx((8 + 3 + 0 + 5) / 3)
    assert writing(texts, ["a", "b", "c", "d"], None)["words_per_claim"] is None
