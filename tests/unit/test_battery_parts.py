"""The battery's parts on hand-made rows: pairing, borrowing, rewriting and the table."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from legible.documents import Document
from legible.evaluate.battery.neighbours import nearest_rows, same_endings
from legible.evaluate.battery.paraphrase import quote_stripped
from legible.evaluate.battery.parts import Case, Control, Over, scored
from legible.evaluate.battery.table import control_lines
from legible.evaluate.battery.words import bag
from legible.evaluate.bench import Bench
from legible.evaluate.reconstruction import Explained
from legible.evaluate.sample import Sample
from legible.languages.base import Claim, Row, unquoted
from legible.languages.text import TextLanguage
from legible.languages.world import VALUES, WorldLanguage, story_document
from legible.probes.lookup import TokenLookup
from legible.vectors import unit, variance

WORLD = WorldLanguage()


def row(doc: str, pos: int, token: int = 5, prev: int = 4, text: str = "the fox sat down") -> Row:
    return Row(Document(doc, text), pos, len(text), max(0, len(text) - 8), token, prev)


def case_of(rows: Sequence[Row], vectors: torch.Tensor, miss: Sequence[float]) -> Case:
    sample = Sample(vectors, rows)
    lookup = TokenLookup.fit(vectors, sample.columns, sample.doc_ids)
    bench = Bench(None, sample, None, None, lookup, variance(vectors), None)  # type: ignore[arg-type]
    explained = Explained(["a"] * len(rows), [1] * len(rows))
    return Case(bench, explained, np.array(miss), layer=0, max_tokens=4, seed=0)


@pytest.fixture
def case(rng: torch.Generator) -> Case:
    rows = [row(f"d{i // 2}", 3 + i % 2, token=i % 3) for i in range(12)]
    vectors = torch.randn(12, 6, generator=rng)
    miss = (torch.rand(12, generator=rng) * 0.1).tolist()
    return case_of(rows, vectors, miss)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_reading_against_itself_differs_by_nothing_and_retains_everything(case):
    found = scored(case, Control("same", "nothing", miss=case.miss.copy(), retains=True))
    assert (found["difference"]["value"], found["difference"]["low"], found["difference"]["high"]) == (0.0, 0.0, 0.0)
    assert (found["retention"]["value"], found["retention"]["low"]) == (1.0, 1.0)
    assert found["fve"]["n"] == 12
    assert found["fve"]["documents"] == 6


def test_a_control_as_bad_as_the_lookup_retains_nothing(case):
    found = scored(case, Control("lookup", "", miss=case.lookup_miss, retains=True))
    assert found["context_fve"]["value"] == pytest.approx(0.0)
    assert found["retention"]["value"] == pytest.approx(0.0)
    gain = float((case.lookup_miss - case.miss).mean() / case.bench.variance)
    assert found["difference"]["value"] == pytest.approx(gain)


def test_a_reading_below_the_lookup_has_nothing_to_retain(case):
    poor = case_of(case.bench.sample.rows, case.bench.sample.vectors, (case.lookup_miss + 0.5).tolist())
    found = scored(poor, Control("same", "", "as it is", miss=poor.miss, retains=True))
    assert found["retention"] is None
    assert found["note"] == "as it is; nothing to retain: the reading's context FVE is not above 0"


def test_a_control_over_some_rows_is_paired_with_the_readings_of_those_rows(case):
    rows = np.array([1, 4, 9])
    found = scored(case, Control("twins", "", miss=case.miss[rows] + 0.2, over=Over(rows, case.lookup_miss[rows])))
    assert found["difference"]["value"] == pytest.approx(0.2 / case.bench.variance)
    assert (found["fve"]["n"], found["fve"]["documents"]) == (3, 3)


def test_a_control_that_could_not_be_measured_says_why_and_has_no_figures(case):
    found = scored(case, Control("writer", "text alone", "n/a: no rows"))
    assert found["note"] == "n/a: no rows"
    assert {value for name, value in found.items() if name not in ("name", "rules_out", "note")} == {None}


class Vectors:
    """A store's `vectors` over a tensor in memory."""

    def __init__(self, vectors: torch.Tensor) -> None:
        self._vectors = vectors

    def vectors(self, rows: Sequence[int], layer: int) -> torch.Tensor:
        return self._vectors[torch.tensor(rows)]


def test_the_nearest_row_has_the_largest_cosine_among_the_taught_ones(rng, monkeypatch):
    monkeypatch.setattr("legible.evaluate.battery.neighbours.CHUNK", 7)
    held, goal = torch.randn(40, 8, generator=rng), torch.randn(9, 8, generator=rng)
    taught = [i for i in range(40) if i % 5]
    rows, vectors = nearest_rows(goal, Vectors(held * 3.0), taught, 0)  # type: ignore[arg-type]
    expected = (unit(goal) @ unit(held[taught]).T).argmax(1)
    assert rows == [taught[int(i)] for i in expected]
    assert torch.equal(vectors, held[rows] * 3.0)


def test_twins_end_in_the_same_two_tokens_of_another_document_at_the_nearest_position():
    read = Sample(torch.zeros(3, 2), [row("a", 10, 7, 6), row("a", 12, 9, 9), row("b", 20, 7, 6)])
    lent = [row("a", 10, 7, 6), row("c", 50, 7, 6), row("d", 18, 7, 6), row("d", 12, 7, 5)]
    rows, others = same_endings(read, Sample(torch.zeros(4, 2), lent))
    assert (rows, others) == ([0, 2], [2, 2])


def test_a_bag_has_no_order_no_case_and_no_repeats():
    assert bag("The fox, the HEN's nest.") == bag("nest hen's fox the the") == ["fox", "hen's", "nest", "the"]
    assert bag(None) == []


def test_a_world_paraphrase_makes_the_same_claims_in_other_words():
    claims = [Claim("", kind, VALUES[kind][0]) for kind in ("name", "species", "mood", "spot", "belief")]
    place = row("world-train-0-000001", 20, text=story_document("train", 0, 1).text)
    for seed in range(6):
        plain, other = WORLD.write(claims, place, seed), WORLD.rewritten(claims, place, seed, held_out=True)
        assert other is not None
        named = lambda text: {(claim.relation, claim.value) for claim in WORLD.parse(text).claims}
        assert named(plain) == named(other) == {(claim.relation, claim.value) for claim in claims}
        assert plain != other


def test_a_rewriting_states_the_first_value_of_a_kind_and_nothing_of_nothing():
    said: list[Sequence[Claim]] = []

    class Saying(TextLanguage):
        def write(self, claims: Sequence[Claim], row: Row, seed: int, *, held_out: bool = False) -> str:
            said.append(claims)
            return "text"

    claims = [Claim("", "topic", "arts"), Claim("", "topic", "law"), Claim("", "say", "a"), Claim("", "say", "b")]
    assert Saying().rewritten([*claims, Claim("free words")], row("d", 3), 0) == "text"
    assert [claim.value for claim in said[0]] == ["arts", "a", "b"]
    assert Saying().rewritten([Claim("free words")], row("d", 3), 0) is None


def test_of_free_text_what_it_quotes_is_stripped(case):
    assert unquoted('They say "the end is: near" and  “go” now.') == "They say and now."
    found = quote_stripped(case)
    assert found.note == "n/a: no reading quotes anything"


def test_the_table_names_what_each_row_rules_out_and_spells_out_hidden_characters(case):
    rows = [scored(case, Control("floor", "luck", miss=case.miss)), scored(case, Control("x", "y", "n/a: \x1b[31m"))]
    own = rows[0]["fve"]
    lines = control_lines({"controls": rows, "fve": own, "context_fve": own, "claims": None})
    assert any(line.strip() == "rules out luck" for line in lines)
    assert any(line.strip() == "n/a: \\x1b[31m" for line in lines)
    assert control_lines({"fve": own}) == []
