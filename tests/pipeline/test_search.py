"""Search: it finds the greedy explanation or a better one, keeps to its budget, and clauses add up to the whole."""

import dataclasses
import json

import pytest
import torch
import train_jobs as jobs
from support.consensus import consensus

from legible.documents import Document
from legible.engines import LocalEngine, make_engine
from legible.engines.partial import Continuer, Draw, Partial, clause_lengths
from legible.engines.sampling import numbered
from legible.engines.search import METHODS, SearchEngine, reading_back
from legible.engines.tree import Tree
from legible.errors import UsageError
from legible.injection import Injection
from legible.languages.world import WorldLanguage, build_tokenizer, story_document
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.reading.reader import load
from legible.train.lm import new_lm
from legible.vectors import direction_mse

LONGEST = 96


@pytest.fixture(scope="module")
def reader():
    return load("builtin")


@pytest.fixture(scope="module")
def vectors(reader) -> torch.Tensor:
    """Activations of some tokens of two stories."""
    target, layer = reader.checkpoint.target, reader.checkpoint.layer
    found = []
    for index in range(2):
        ids = torch.tensor([target.encode(story_document("test", 5, index).text).ids[:120]])
        found.append(target.streams(ids, torch.ones_like(ids), (layer,))[layer][0, [40, 75, 110]])
    return torch.cat(found)


@pytest.fixture(scope="module")
def greedy(reader, vectors):
    return [row[0] for row in LocalEngine(reader.checkpoint.verbalizer).generate(vectors, max_tokens=LONGEST)]


def engine(reader, method: str, budget: int) -> SearchEngine:
    found = reader.checkpoint
    return SearchEngine(found.verbalizer, reading_back(found.reconstructor), method, budget)


def errors(reader, texts, vectors) -> torch.Tensor:
    return direction_mse(reader.checkpoint.reconstructor.reconstruct(texts), vectors)


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_of_one_is_the_greedy_explanation(method, reader, vectors, greedy):
    search = engine(reader, method, 1)
    found = [row[0] for row in search.generate(vectors, max_tokens=LONGEST)]
    assert [one.ids for one in found] == [one.ids for one in greedy]
    assert [(one.stop_id, one.explanation) for one in found] == [(one.stop_id, one.explanation) for one in greedy]
    for ours, theirs in zip(found, greedy, strict=True):
        torch.testing.assert_close(torch.tensor(ours.logprobs), torch.tensor(theirs.logprobs), atol=1e-4, rtol=1e-4)
    assert search.cost.tokens == sum(len(one.ids) for one in greedy)


@pytest.mark.parametrize("method", METHODS)
def test_more_budget_finds_better_and_costs_what_it_may(method, reader, vectors, greedy):
    search = engine(reader, method, 4)
    texts = [row[0].explanation for row in search.generate(vectors, max_tokens=LONGEST)]
    before = errors(reader, [one.explanation for one in greedy], vectors)
    after = errors(reader, texts, vectors)
    assert (after < before).sum() > len(before) / 2
    if method != "beam":  # a beam may lose the greedy explanation on its way
        assert (after <= before + 1e-6).all()
    length = sum(len(one.ids) for one in greedy)
    assert 2 * length < search.cost.tokens < 6 * length
    assert search.cost.readings == len(vectors)
    assert search.cost.scored > len(vectors)


def test_best_of_n_is_the_best_of_the_greedy_and_the_engines_own_samples(reader, vectors, greedy):
    samples = LocalEngine(reader.checkpoint.verbalizer).generate(
        vectors, samples=4, temperature=1.0, max_tokens=LONGEST
    )
    found = engine(reader, "best-of-n", 4).generate(vectors, max_tokens=LONGEST)
    for row, ours in enumerate(found):
        pool = [greedy[row], *samples[row][1:]]
        texts = [one.explanation for one in pool if one.explanation is not None]
        best = texts[int(errors(reader, texts, vectors[[row] * len(texts)]).argmin())]
        assert ours[0].explanation == best


@pytest.mark.parametrize("method", METHODS)
def test_a_search_does_not_depend_on_what_is_read_beside(method, reader, vectors):
    run = lambda some: engine(reader, method, 3).generate(some, max_tokens=LONGEST)
    assert [one.ids for one in run(vectors[:1])[0]] == [one.ids for one in run(vectors[:3])[0]]


@pytest.mark.parametrize("mode", ["replace", "add"])
def test_clause_by_clause_writes_what_is_written_at_once(mode):
    tokenizer = build_tokenizer()
    target = Target(new_lm(jobs.PRETRAIN, tokenizer), tokenizer, "random")
    verbalizer = Verbalizer.from_target(target, Injection(mode, "sqrt_d_model", 1))
    vectors = torch.randn(3, target.d_model, generator=torch.Generator().manual_seed(0))
    whole = [row[0] for row in LocalEngine(verbalizer).generate(vectors, max_tokens=40)]
    continuer = Continuer(verbalizer)
    written = [token for one in whole for token in one.ids[5:30:9]]  # a random model writes no commas
    continuer.ends = frozenset(written) - set(verbalizer.prompt.stop_ids)
    found = [Partial()] * 3
    rounds = 0
    while any(len(one.ids) < 40 and not one.ended for one in found):
        open_rows = [row for row, one in enumerate(found) if len(one.ids) < 40 and not one.ended]
        draws = [Draw(row, found[row], rounds) for row in open_rows]
        more = continuer.write(vectors, numbered(0, len(vectors)), draws, clause=True, temperature=0.0, max_tokens=40)
        for row, one in zip(open_rows, more, strict=True):
            found[row] = one
        rounds += 1
    assert rounds > 2
    assert [list(one.ids) for one in found] == [one.ids for one in whole]
    for ours, theirs in zip(found, whole, strict=True):
        assert sum(ours.clauses) == len(ours.ids)
        assert list(ours.clauses) == clause_lengths(ours.ids, continuer.ends)
        torch.testing.assert_close(torch.tensor(ours.logprobs), torch.tensor(theirs.logprobs), atol=1e-4, rtol=1e-4)


def test_an_open_sentence_is_closed_before_it_is_scored(reader):
    verbalizer = reader.checkpoint.verbalizer
    continuer = Continuer(verbalizer)
    partial = lambda text: Partial(tuple(verbalizer.tokenizer(text, add_special_tokens=False).input_ids))
    assert continuer.readable(partial("Feels sad, holds a hammer,")) == "Feels sad, holds a hammer."
    assert continuer.readable(partial("Feels sad. Holds")) == "Feels sad. Holds."
    assert continuer.readable(Partial()) == ""
    tags = dataclasses.replace(verbalizer.prompt, tags=True)
    tagged = Continuer(Verbalizer(verbalizer.model, verbalizer.tokenizer, tags, verbalizer.injection))
    tagged.text = lambda _: "<explanation>\nFeels sad, holds a hammer,"  # type: ignore[method-assign]
    assert tagged.readable(Partial()) == "Feels sad, holds a hammer."
    tagged.text = lambda _: "<explanation>\nFeels sad.\n</explanation>"  # type: ignore[method-assign]
    assert tagged.readable(Partial()) == "Feels sad."


def part(*clauses: str) -> Partial:
    ids = tuple(ord(letter) for clause in clauses for letter in clause)
    return Partial(ids, (0.0,) * (len(ids) + 1), 0, tuple(len(clause) for clause in clauses))


def test_a_tree_goes_on_where_explanations_came_back_best():
    tree = Tree()
    tree.add(part("a,", "b,", "c."), 0.9)
    assert tree.select(20) == dataclasses.replace(part("a,", "b,"), stop_id=None, logprobs=(0.0,) * 4)
    tree.add(part("x,", "y,", "z."), 0.1)
    tree.add(part("x,", "y,", "w."), 0.2)
    tree.add(part("a,", "d,", "c."), 0.8)
    assert tree.root.visits == 4
    assert tree.root.total == pytest.approx(2.0)
    assert tree.best == part("x,", "y,", "z.")
    chosen = tree.select(20)
    assert chosen is not None
    assert bytes(chosen.ids).decode() == "x,"  # two visits and one child: here it branches
    assert tree.select(0) is None


def test_an_explanation_that_never_ends_is_never_the_best_of_a_tree():
    tree = Tree()
    tree.add(part("a."), 0.7)
    tree.add(dataclasses.replace(part("b."), stop_id=None), 4.0)
    assert tree.best == part("a.")
    assert tree.root.total == pytest.approx(1.4)


def test_a_search_is_one_explanation_and_its_arguments_are_checked(reader, vectors):
    with pytest.raises(UsageError, match="a search ends with one explanation"):
        engine(reader, "tree", 2).generate(vectors, samples=2, max_tokens=8)
    with pytest.raises(UsageError, match="expected a budget of at least 1"):
        engine(reader, "tree", 0)
    with pytest.raises(UsageError, match="a search chooses by the reconstructor, and this checkpoint has none"):
        make_engine(reader.checkpoint.verbalizer, None, "beam", budget=2)
    with pytest.raises(UsageError, match="no engine 'wide': expected local, best-of-n, beam, tree"):
        make_engine(reader.checkpoint.verbalizer, reader.checkpoint.reconstructor, "wide")


def test_explanations_that_cannot_end_are_failed_parses(reader, vectors):
    for method in METHODS:
        found = engine(reader, method, 2).generate(vectors[:2], max_tokens=4)
        assert [(row[0].stop, row[0].explanation) for row in found] == [("length", None)] * 2


def test_reading_with_a_search_reads_better(reader, legible):
    document = Document("", story_document("test", 5, 0).text[:400])
    plain = reader.read(document.text, positions="-2:")
    asked = ["read", "builtin", document.text, "--positions=-2:", "--json"]
    found = legible(*asked, "--search", "tree", "--budget", "4")
    assert found.code == 0, found.err
    searched = [json.loads(line) for line in found.out.splitlines()]
    assert len(searched) == 2
    for ours, theirs in zip(searched, plain, strict=True):
        assert ours["direction_mse"] <= theirs.direction_mse + 1e-6
    assert legible(*asked, "--search", "fastest").code == 2
    assert "expected best-of-n, beam or tree" in legible(*asked, "--search", "fastest").err


def test_consensus_keeps_the_clauses_that_most_explanations_make():
    language = WorldLanguage()
    texts = [
        "The hero: is a fox, is at the harbor. Feels sad. Midway in the sentence.",
        "The hero: is a fox, is at the forest. Feels sad. Midway in the sentence.",
        "This one: is a fox. Feels sad, holds a hammer.",
        None,
    ]
    kept = consensus(texts, language, 0.75)
    claims = {(claim.relation, claim.value) for claim in language.parse(kept).claims}
    assert claims == {("species", "fox"), ("mood", "sad")}
    assert consensus(texts, language, 0.0) is not None
    assert consensus([None, *texts], language, 0.5) is None
    assert consensus(["Feels sad.", "Feels proud."], language, 1.0) is None
