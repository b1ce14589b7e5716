"""The rule of doubt: what is withheld, what stands on its floor, and that every form of output keeps to it."""

import re
from dataclasses import replace
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from legible.reading.doubt import NO_BETTER, above_floor, doubtful, little_to_say, no_better
from legible.reading.html import reading_page
from legible.reading.markdown import reading_markdown
from legible.reading.reading import ReadClaim, Reading
from legible.reading.table import print_table

WORDS = "Pavel is a fox, is at the hammer."


def reading(*p_true: float | None, fve: float = 0.8, floor: float | None = 0.2, flags: tuple[str, ...] = ()) -> Reading:
    clauses = (("Pavel is a fox", "species", "fox"), ("is at the hammer", "place", "hammer"))
    claims = tuple(ReadClaim(*clause, "hero", p_true=p) for clause, p in zip(clauses, p_true, strict=True))
    return Reading(3, " fox", 5, 2, 1.0, flags, WORDS, 0.2, fve, claims, floor_fve=floor)


def table(one: Reading) -> str:
    console = Console(file=StringIO(), width=200)
    print_table([one], console)
    return console.file.getvalue()


def test_below_one_half_is_doubtful_and_no_probability_is_not():
    assert [doubtful(p) for p in (None, 0.0, 0.4999, 0.5, 1.0)] == [False, True, True, False, False]


def test_a_doubtful_claim_is_withheld_and_counted_where_it_cannot_be_drawn():
    for shown in (table(reading(0.97, 0.03)), reading_markdown(WORDS, [reading(0.97, 0.03)], {}).split("| pos")[1]):
        assert "Pavel is a fox, …." in shown
        assert "1 doubtful claim" in shown
        assert "hammer" not in shown
        assert "0.50/0.03" in shown
    assert "is at the hammer" in table(reading(0.97, None))
    assert "2 doubtful claims" in table(reading(0.1, 0.2))
    assert "fox" not in table(reading(0.1, 0.2)).replace(" fox ", "", 1)  # the token itself


def test_words_of_no_relation_are_named_as_not_understood_and_escaped():
    one = replace(reading(0.9, 0.9), unparsed=("if *sad*", "<b>"))
    said = "not understood, so neither true nor false: "
    assert f"{said}if *sad*, <b>" in " ".join(table(one).split())
    assert f"{said}if \\*sad\\*, &lt;b&gt;" in reading_markdown("text", [one], {})
    assert f"{said}if *sad*, &lt;b&gt;" in reading_page("text", [one], {})
    assert said not in table(replace(one, trust=0.8, kept="Kept."))


def test_a_page_dims_a_doubtful_claim_and_strikes_it_through():
    page = reading_page(WORDS, [reading(0.97, 0.03)], {})
    assert re.search(r'<span class=" p0 doubtful" title="p_true 0.03, doubtful">is at the hammer</span>', page)
    assert re.search(r'<span class=" p10" title="p_true 0.97">fox</span>', page)
    assert re.search(r"\.doubtful \{[^}]*var\(--soft\)[^}]*line-through", page)
    assert "1 doubtful claim" in page
    assert "0.50/0.03" in page


@pytest.mark.parametrize("floor", [0.8, 0.83])
def test_a_score_at_its_floor_is_said_to_be_none(floor):
    one = reading(0.9, 0.9, fve=0.8, floor=floor, flags=("ood", "norm_outlier"))
    for shown in (table(one), reading_page(WORDS, [one], {}), reading_markdown(WORDS, [one], {})):
        assert "little to say here: outside what the pair was trained on, no better than saying nothing" in shown
    assert '<span class="token t0">' in reading_page(WORDS, [one], {})
    assert NO_BETTER in little_to_say((), 0.504, 0.496)  # both are shown as 0.50
    assert little_to_say((), 0.8, 0.7) == ""
    assert little_to_say((), 0.8, None) == ""


@given(st.floats(-1, 1), st.none() | st.floats(-1, 1))
def test_a_score_is_drawn_from_its_floor_on(fve, floor):
    share = above_floor(fve, floor)
    assert 0 <= share <= 1
    if no_better(fve, floor):
        assert share == 0
    elif floor is None or floor <= 0:
        assert share == max(0.0, fve)
    else:
        assert floor + (1 - floor) * share == pytest.approx(fve)
    assert above_floor(1.0, floor) == (0.0 if no_better(1.0, floor) else 1.0)
