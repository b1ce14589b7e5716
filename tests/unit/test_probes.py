"""Probes find what was planted and nothing else; the token lookup and the fact ridge recover their closed forms."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from legible.errors import UsageError
from legible.languages.base import Fact
from legible.probes import files
from legible.probes.lookup import FactRidge, TokenLookup, fact_names
from legible.probes.probes import OPEN, UNDECIDED, ProbeSet, known_labels
from legible.probes.ridge import TokenColumns, solve
from legible.vectors import fve

ROWS, WIDTH, VALUES = 3000, 24, 4


@pytest.fixture(scope="module")
def planted() -> tuple[torch.Tensor, dict[str, list[str | None]], list[str]]:
    """`shown` is a direction each, `xored` a product of two signs, `absent` is nowhere; a fifth of `shown` is open."""
    rng = torch.Generator().manual_seed(0)
    vectors = torch.randn(ROWS, WIDTH, generator=rng) * 0.4
    shown = torch.randint(0, VALUES, (ROWS,), generator=rng)
    known = torch.rand(ROWS, generator=rng) > 0.2
    vectors[known] += 3.0 * torch.eye(WIDTH)[shown[known]]
    signs = torch.randint(0, 2, (ROWS, 2), generator=rng) * 2 - 1
    vectors[:, 10:12] += 1.5 * signs
    absent = torch.randint(0, VALUES, (ROWS,), generator=rng)
    labels: dict[str, list[str | None]] = {
        "shown": [f"v{v}" if k else None for v, k in zip(shown.tolist(), known.tolist(), strict=True)],
        "xored": ["same" if s else "different" for s in (signs.prod(1) > 0).tolist()],
        "absent": [f"v{v}" for v in absent.tolist()],
    }
    return vectors, labels, [f"doc-{row // 6}" for row in range(ROWS)]


@pytest.fixture(scope="module")
def probes(planted) -> ProbeSet:
    vectors, labels, docs = planted
    return ProbeSet.fit(vectors, labels, docs, seed=1)


def test_a_planted_fact_is_read_and_an_absent_one_is_not(probes):
    assert probes.scores["shown"].corrected.value > 0.95
    assert probes.scores["shown"].form == "linear" or probes.scores["shown"].mlp_accuracy > 0.95
    assert abs(probes.scores["absent"].corrected.value) < 0.08
    assert probes.scores["absent"].corrected.low < 0 < probes.scores["absent"].corrected.high


def test_the_mlp_speaks_where_a_line_cannot(probes):
    score = probes.scores["xored"]
    assert score.form == "mlp"
    assert score.accuracy == score.mlp_accuracy > score.linear_accuracy + 0.3


def test_what_nobody_decided_teaches_a_probe_nothing(planted):
    vectors, labels, docs = planted
    hidden = torch.rand(ROWS, generator=torch.Generator().manual_seed(3)) < 0.5
    undecided = [UNDECIDED if hide else value for value, hide in zip(labels["shown"], hidden.tolist(), strict=True)]
    probes = ProbeSet.fit(vectors, {"shown": undecided, "xored": labels["xored"]}, docs, seed=1)
    share, right = probes.of_truth(vectors, {"shown": labels["shown"]}, docs)["shown"]
    unseen = hidden & torch.tensor([value is not None for value in labels["shown"]])
    assert right[unseen].double().mean() > 0.95
    assert share[unseen].mean() > 0.9
    known = sum(value is not None and value != UNDECIDED for value in undecided)
    assert probes.scores["shown"].known == known


def test_an_open_fact_is_told_from_a_known_one(planted, probes):
    vectors, labels, docs = planted
    share = probes.probability(vectors, docs)["shown"][:, probes.classes["shown"].index(OPEN)]
    is_open = torch.tensor([value is None for value in labels["shown"]])
    assert share[is_open].mean() > 0.9
    assert share[~is_open].mean() < 0.1


def test_probabilities_are_calibrated(planted):
    vectors, labels, docs = planted
    rng = torch.Generator().manual_seed(2)
    blurred = vectors + torch.randn(vectors.shape, generator=rng) * 1.5
    probes = ProbeSet.fit(blurred, {"shown": labels["shown"]}, docs, seed=0)
    best, place = probes.probability(blurred, docs)["shown"].max(-1)
    names = probes.classes["shown"]
    right = torch.tensor([names[p] == (v or OPEN) for p, v in zip(place.tolist(), labels["shown"], strict=True)])
    assert best.mean().item() == pytest.approx(right.float().mean().item(), abs=0.03)
    assert 0.3 < right.float().mean() < 0.95


def test_decodable_needs_a_right_and_sure_probe(planted, probes):
    vectors, labels, docs = planted
    decodable = probes.decodable(vectors, labels, docs)
    known = torch.tensor([value is not None for value in labels["shown"]])
    assert decodable["shown"][known].float().mean() > 0.9
    assert not decodable["shown"][~known].any()
    assert decodable["absent"].float().mean() < 0.02


def test_an_unseen_value_is_never_decodable(planted, probes):
    vectors, _, docs = planted
    assert not probes.decodable(vectors[:5], {k: ["new"] * 5 for k in probes.classes}, docs[:5])["shown"].any()


def test_a_row_is_never_judged_by_a_probe_that_saw_its_document(planted):
    """Labels that are noise of each document would be learnt by heart: unseen, they score at chance."""
    vectors, _, docs = planted
    rng = torch.Generator().manual_seed(3)
    noise = torch.randint(0, 2, (ROWS // 6,), generator=rng).repeat_interleave(6)
    signature = torch.randn(ROWS // 6, WIDTH, generator=rng).repeat_interleave(6, 0)
    probes = ProbeSet.fit(vectors + 3 * signature, {"noise": [str(v) for v in noise.tolist()]}, docs)
    assert abs(probes.scores["noise"].corrected.value) < 0.15


def test_a_limit_keeps_only_what_is_found(planted, probes):
    vectors, labels, docs = planted
    keep = probes.found(vectors, labels, docs, threshold=0.5)
    assert sum("shown" in kinds for kinds in keep) == pytest.approx(
        sum(v is not None for v in labels["shown"]), rel=0.1
    )
    assert sum("absent" in kinds for kinds in keep) < 0.15 * ROWS


def test_saved_probes_say_the_same(planted, probes, tmp_path):
    vectors, _, docs = planted
    probes.save(tmp_path / "probes.safetensors")
    loaded = ProbeSet.load(tmp_path / "probes.safetensors")
    assert loaded.report() == probes.report()
    for kind, share in loaded.probability(vectors, docs).items():
        assert torch.allclose(share, probes.probability(vectors, docs)[kind], atol=0.05)


def test_the_same_seed_fits_the_same_probes(planted):
    vectors, labels, docs = planted
    few = {kind: column[:600] for kind, column in labels.items()}
    one, two = (ProbeSet.fit(vectors[:600], few, docs[:600], seed=5) for _ in range(2))
    assert all(torch.equal(weight, two.weights[name]) for name, weight in one.weights.items())


def test_a_kind_of_one_value_does_not_count_in_the_mean(planted):
    vectors, labels, docs = planted
    alone = ProbeSet.fit(vectors, {"shown": labels["shown"]}, docs, seed=1)
    beside = ProbeSet.fit(vectors, {"shown": labels["shown"], "same": ["no"] * ROWS}, docs, seed=1)
    assert beside.telling().keys() == alone.telling().keys() == {"shown"}
    assert beside.mean_corrected() == beside.scores["shown"].corrected.value
    assert ProbeSet.fit(vectors, {"same": ["no"] * ROWS}, docs, seed=1).mean_corrected() is None


def test_a_kind_that_nobody_knows_is_an_error(planted):
    vectors, _, docs = planted
    with pytest.raises(UsageError, match="no row knows 'mood'"):
        ProbeSet.fit(vectors, {"mood": [None] * ROWS}, docs)


def test_too_few_documents_for_the_folds_is_an_error(planted):
    vectors, labels, _ = planted
    with pytest.raises(UsageError, match="1 documents fill 1 of 3 folds"):
        ProbeSet.fit(vectors, labels, ["one"] * ROWS)


def test_labels_are_the_single_known_values():
    facts = [
        {"mood": Fact("mood", "stated", ("sad",)), "cast": Fact("cast", "stated", ("Ann", "Bob"))},
        {"mood": Fact("mood", "open", ()), "cast": Fact("cast", "implied", ("Ann",))},
    ]
    assert known_labels(facts, ("mood", "cast")) == {"mood": ["sad", None], "cast": [None, "Ann"]}
    assert fact_names(facts, ("stated",)) == [["mood=sad", "cast=Ann", "cast=Bob"], []]


@pytest.fixture(scope="module")
def tokens() -> tuple[TokenColumns, list[str], torch.Generator]:
    rng = torch.Generator().manual_seed(4)
    ids = torch.randint(0, 30, (ROWS,), generator=rng).tolist()
    columns = TokenColumns.of(ids, [-1, *ids[:-1]], (torch.arange(ROWS) % 50).tolist())
    return columns, [f"doc-{row // 6}" for row in range(ROWS)], rng


def test_what_tokens_and_position_decide_the_lookup_predicts(tokens):
    columns, docs, rng = tokens
    table = torch.randn(2, 31, WIDTH, generator=rng)
    slope = torch.randn(WIDTH, generator=rng)
    pos = torch.log1p(torch.from_numpy(columns.pos).float())[:, None]
    vectors = table[0, columns.token_ids] + table[1, columns.prev_token_ids + 1] + pos * slope
    train, test = slice(0, 2400), slice(2400, ROWS)
    lookup = TokenLookup.fit(vectors[train], columns.take(train), docs[train])
    assert fve(lookup.predict(columns.take(test)), vectors[test]) > 0.9


def test_pairs_that_no_sum_explains_are_looked_up(tokens):
    _, docs, rng = tokens
    ids, prev = (torch.randint(0, 5, (ROWS,), generator=rng) for _ in range(2))
    columns = TokenColumns.of(ids.tolist(), prev.tolist(), [3] * ROWS)
    vectors = torch.randn(5, 5, WIDTH, generator=rng)[ids, prev] + 0.3 * torch.randn(ROWS, WIDTH, generator=rng)
    train, test = slice(0, 2400), slice(2400, ROWS)
    lookup = TokenLookup.fit(vectors[train], columns.take(train), docs[train])
    assert fve(lookup.predict(columns.take(test)), vectors[test]) > 0.85
    assert len(lookup.pairs) == 25


def test_a_lookup_cut_to_a_rank_keeps_the_share_it_says_and_is_written_as_its_factors(tokens, tmp_path):
    columns, docs, rng = tokens
    table = torch.randn(2, 31, WIDTH, generator=rng)
    vectors = table[0, columns.token_ids] + table[1, columns.prev_token_ids + 1]
    vectors += 0.3 * torch.randn(ROWS, WIDTH, generator=rng)
    lookup = TokenLookup.fit(vectors, columns, docs)
    table = np.concatenate([lookup.weights, lookup.corrections])
    cut, share = lookup.cut(3)
    lost = ((np.concatenate([cut.weights, cut.corrections]) - table) ** 2).sum() / (table**2).sum()
    assert np.linalg.matrix_rank(cut.weights) <= 3
    assert share == pytest.approx(1 - lost)
    cut.save(tmp_path / "cut")
    lookup.save(tmp_path / "whole")
    assert (tmp_path / "cut").stat().st_size < (tmp_path / "whole").stat().st_size
    again = TokenLookup.load(tmp_path / "cut")
    torch.testing.assert_close(again.predict(columns), cut.predict(columns), atol=5e-3, rtol=0)
    again.save(tmp_path / "again")
    torch.testing.assert_close(TokenLookup.load(tmp_path / "again").predict(columns), again.predict(columns))
    whole, everything = lookup.cut(len(table.T))
    assert everything == pytest.approx(1.0)
    torch.testing.assert_close(whole.predict(columns), lookup.predict(columns))


def test_what_tokens_do_not_decide_the_lookup_does_not_claim(tokens):
    columns, docs, rng = tokens
    vectors = torch.randn(ROWS, WIDTH, generator=rng) + 1.0
    lookup = TokenLookup.fit(vectors[:2400], columns.take(slice(0, 2400)), docs[:2400])
    guess = fve(torch.from_numpy(lookup.mean).expand(600, -1), vectors[2400:])
    assert fve(lookup.predict(columns.take(slice(2400, ROWS))), vectors[2400:]) < guess + 0.05


def test_facts_add_what_tokens_lack(tokens):
    columns, docs, rng = tokens
    of_token, of_mood = torch.randn(30, WIDTH, generator=rng), torch.randn(6, WIDTH, generator=rng)
    moods = torch.randint(0, 6, (ROWS,), generator=rng)
    vectors = of_token[columns.token_ids] + of_mood[moods]
    facts = [[f"mood={mood}"] for mood in moods.tolist()]
    train, test = slice(0, 2400), slice(2400, ROWS)
    lookup = TokenLookup.fit(vectors[train], columns.take(train), docs[train])
    both = FactRidge.fit(vectors[train], facts[train], docs[train], columns=columns.take(train), lookup=lookup)
    alone = FactRidge.fit(vectors[train], facts[train], docs[train])
    scores = [
        fve(guess, vectors[test])
        for guess in (
            lookup.predict(columns.take(test)),
            alone.predict(facts[test]),
            both.predict(facts[test], columns.take(test)),
        )
    ]
    assert scores[0] < 0.7
    assert scores[1] < 0.7
    assert scores[2] > 0.95


def test_the_wide_and_the_tall_system_have_one_solution():
    rng = np.random.default_rng(0)
    dense, goal = rng.random((20, 30)), rng.random((20, 3))
    _, wide = solve(sparse.csr_matrix(dense), goal, 0.7)
    tall = np.linalg.solve(dense.T @ dense + 0.7 * np.eye(30), dense.T @ (goal - goal.mean(0)))
    assert np.allclose(wide, tall)


def test_a_ridge_beside_tokens_asks_for_tokens(tokens):
    columns, docs, rng = tokens
    vectors = torch.randn(ROWS, WIDTH, generator=rng)
    lookup = TokenLookup.fit(vectors, columns, docs)
    both = FactRidge.fit(vectors, [["a=b"]] * ROWS, docs, columns=columns, lookup=lookup)
    with pytest.raises(ValueError, match="fitted beside tokens"):
        both.predict([["a=b"]])


def test_a_saved_lookup_predicts_the_same(tokens, tmp_path):
    columns, docs, rng = tokens
    vectors = torch.randn(30, WIDTH, generator=rng)[columns.token_ids]
    lookup = TokenLookup.fit(vectors, columns, docs)
    lookup.save(tmp_path / "lookup.safetensors")
    loaded = TokenLookup.load(tmp_path / "lookup.safetensors")
    assert torch.allclose(loaded.predict(columns), lookup.predict(columns), atol=2e-3)
    assert (loaded.ridge, loaded.shrink) == (lookup.ridge, lookup.shrink)


@pytest.mark.parametrize("kind", [TokenLookup, ProbeSet])
def test_a_missing_or_foreign_file_is_named(kind, tmp_path, tokens):
    with pytest.raises(UsageError, match="gone"):
        kind.load(tmp_path / "gone.safetensors")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match=r"other\.safetensors holds 'no kind'"):
        kind.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize("kind", [ProbeSet, TokenLookup])
def test_a_file_that_is_missing_broken_or_of_another_kind_is_named(
    kind: type[ProbeSet] | type[TokenLookup], tmp_path: Path
) -> None:
    path = tmp_path / "fitted.safetensors"
    with pytest.raises(UsageError, match=r"at .*fitted\.safetensors\.\n  `legible"):
        kind.load(path)
    files.save(path, "other", {}, {"weights": torch.zeros(3)})
    with pytest.raises(UsageError, match="holds 'other', expected"):
        kind.load(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UsageError, match="is not a whole safetensors file"):
        kind.load(path)
