import base64
import hashlib
import re
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legible.display import visible
from legible.evaluate.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, curve
from legible.evaluate.report import summary_lines, write_report
from legible.page import interval, render, tint
from legible.reading.marks import pieces, withheld
from legible.reading.reading import ReadClaim, Reading

HOSTILE = '</style><script>alert("x")</script>\x1b[31m\u202eevil\u2066\x00\u200b'


@given(st.text())
def test_visible_leaves_no_acting_character(text):
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in visible(text))


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_visible_leaves_ordinary_text_alone(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("char", "shown"), [("\x1b", "\\x1b"), ("\u202e", "\\u202e"), ("\n", "\\n"), ("\U000e0041", "\\U000e0041")]
)
def test_visible_spells_acting_characters(char, shown):
    assert visible(f"a{char}b") == f"a{shown}b"


def report(**changes: object) -> dict[str, object]:
    """An evaluation's object with one floor and one kind."""
    score = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 40, "documents": 10}
    whole = {
        "fve": score, "context_fve": score, "floors": {"constant": -0.1}, "references": {"probes": 0.6},
        "floor_intervals": {}, "reference_intervals": {}, "gains": {"constant": score},
        "parse_failures": 1, "mean_tokens": 20.5, "rows": 40, "variance": 0.9, "layer": 2,
        "checkpoint": "here", "seed": 1, "commit": "abc", "world": None, "claims": None,
    }  # fmt: skip
    return {**whole, **changes}


class Strict(HTMLParser):
    """Collects tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs


def reading(text: str) -> dict[str, object]:
    return Reading(3, text, 5, 2, 1.0, (text,), text, 0.5, 0.5, (ReadClaim(text),)).as_dict()


def test_a_report_is_self_contained_and_runs_nothing(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, report(checkpoint=HOSTILE, config={"recipe": HOSTILE}, readings=[reading(HOSTILE)]))
    page = path.read_text(encoding="utf-8")
    parsed = Strict()
    parsed.feed(page)
    assert "script" not in parsed.tags
    assert not {"src", "style"} & {name for name, _ in parsed.attributes}
    assert all(value.startswith("#") for name, value in parsed.attributes if name == "href")
    assert not any(name.startswith("on") for name, _ in parsed.attributes)
    assert "alert" in page  # shown as text
    assert not {char for char in page if unicodedata.category(char) in ("Cc", "Cf")} - {"\n"}


def test_the_policy_allows_exactly_the_pages_own_style():
    page = render("run.html.j2", **minimal_context())
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    allowed = re.search(r"style-src 'sha256-([^']+)'", page)[1]
    assert allowed == base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert "default-src 'none'" in page


def minimal_context() -> dict[str, object]:
    empty = dict.fromkeys(
        (
            "carried",
            "headlines",
            "floors",
            "references",
            "curves",
            "readings",
            "families",
            "retrieval",
            "twins",
        ),
        (),
    )
    return {**empty, "report": report(), "kinds": {}, "target": None, "sft": None, "rl": None, "config": None}


def test_the_summary_shows_every_floor_with_n_seed_and_commit():
    lines = "\n".join(summary_lines(report()))
    for expected in ("0.80 [0.70, 0.90]", "constant", "-0.10", "n 40 rows of 10 documents, seed 1, commit abc"):
        assert expected in lines


@pytest.mark.parametrize(
    ("share", "step"), [(None, "tx"), (float("nan"), "tx"), (-3.0, "t0"), (0.5, "t5"), (1.2, "t10")]
)
def test_tints_are_clamped(share, step):
    assert tint(share) == step


def test_an_interval_without_bounds_is_its_value():
    assert interval({"value": 0.5, "low": None, "high": None}) == "0.50"
    assert interval(None) == "–"


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(-1e3, 1e3)), min_size=2, max_size=400))
def test_a_curve_stays_inside_its_plot(series):
    drawn = curve("t", sorted(series))
    for point in drawn.points.split():
        x, y = map(float, point.split(","))
        assert LEFT - 0.1 <= x <= WIDTH - RIGHT + 0.1
        assert TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1


CLAIMS = st.lists(
    st.tuples(
        st.text(alphabet="ab ,.", max_size=6),
        st.sampled_from(["a", "b", "ab", None]),
        st.sampled_from(["true", "unknown"]),
        st.sampled_from([None, 0.1, 0.5, 0.9]),
    )
)


@given(st.text(alphabet="ab ,.", max_size=30), CLAIMS)
def test_pieces_join_to_the_explanation_and_without_the_doubtful_ones_the_rest_stays_in_order(text, claims):
    found = pieces(text, claims)
    assert "".join(piece.text for piece in found) == text
    kept = iter(found)
    assert all(piece.text == "…" or piece in kept for piece in withheld(found))
    assert not any(piece.doubtful for piece in withheld(found))


def test_a_value_is_marked_in_its_own_clause():
    found = pieces("It is in the well. He thinks of the well.", [("He thinks of the well", "well", "false", None)])
    assert found == [("It is in the well. He thinks of the ", "", None), ("well", "false", None), (".", "", None)]


def test_a_doubtful_claim_is_marked_at_all_its_words_but_those_of_others_in_its_clause():
    said = "Pavel lives as a hammer, feels sad, is at the well."
    both = "Pavel lives as a hammer"
    claims = [(both, "Pavel", 0.9), (both, "hammer", 0.1), ("feels sad", "sad", 0.2), ("is at the well", "well", 0.5)]
    found = pieces(said, [(clause, value, "unknown", p_true) for clause, value, p_true in claims])
    assert [piece.text for piece in found if piece.doubtful] == ["lives as a hammer", "feels sad"]
    assert [piece.text for piece in found if piece.p_true is not None and not piece.doubtful] == ["Pavel", "well"]
    assert "".join(piece.text for piece in withheld(found)) == "Pavel …, is at the well."
    assert withheld(pieces("Feels sad.", [("Feels sad", "sad", "unknown", 0.2)])) == []


def test_a_claim_that_does_not_name_its_value_is_marked_at_its_words_and_a_doubtful_one_never_left_out():
    clause = "Inside a sentence"
    assert pieces("Inside a sentence.", [(clause, "mid", "unknown", 0.9)])[0] == (clause, "", 0.9)
    found = pieces(
        "He sits there.", [("He sits there", "there", "unknown", 0.9), ("He sits there", "x", "unknown", 0.1)]
    )
    assert found == [("He sits there", "", 0.1), (".", "", None)]
