"""Search for the explanation that a verifier likes best: more compute per reading, no training.

Three methods over one budget, counted in whole explanations: a budget of N may write about N times the tokens of the
greedy explanation, which is always among the candidates, so a budget of 1 is the greedy explanation.

    best-of-n   N - 1 samples beside the greedy explanation; the verifier chooses
    beam        clause by clause: N continuations of the kept partial explanations, the best isqrt(N) stay
    tree        Monte Carlo tree search over clauses: choose where to go on anew by the mean of what followed
                (UCT; Kocsis and Szepesvari 2006), write to the end, score the whole

The verifier is the reconstructor's direction_mse: what it likes need not be true, nor liked by another reconstructor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isqrt

from jaxtyping import Float
from torch import Tensor

from legible.config.choices import SEARCHES, Search
from legible.engines.base import Completion, Key
from legible.engines.partial import Continuer, Draw, Partial
from legible.engines.sampling import numbered
from legible.engines.tree import Tree
from legible.errors import UsageError
from legible.models.reconstructor import Reconstructor
from legible.models.verbalizer import Verbalizer
from legible.vectors import direction_mse

Method = Search
METHODS = SEARCHES
Verifier = Callable[[Float[Tensor, "n d_model"], Sequence[str]], Float[Tensor, " n"]]
"""Scores of (activation, explanation) pairs; smaller is better."""

NOTHING = 4.0  # score of an explanation that never ended: the largest direction_mse


def reading_back(reconstructor: Reconstructor) -> Verifier:
    """direction_mse under a reconstructor; each text is read once."""

    def score(vectors: Float[Tensor, "n d_model"], texts: Sequence[str]) -> Float[Tensor, " n"]:
        place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        back = reconstructor.reconstruct(list(place))
        return direction_mse(back[[place[text] for text in texts]], vectors)

    return score


def search_engine(
    method: Method,
    verbalizer: Verbalizer,
    reconstructor: Reconstructor | None,
    *,
    budget: int = 8,
    temperature: float = 1.0,
) -> "SearchEngine":
    """A search whose verifier is the reconstructor.

    Raises:
        UsageError: there is no reconstructor, or a budget below 1 or a temperature of 0.
    """
    if reconstructor is None:
        raise UsageError(
            "a search chooses by the reconstructor, and this checkpoint has none (ar/).\n  Read without --search."
        )
    return SearchEngine(verbalizer, reading_back(reconstructor), method, budget, temperature)


@dataclass
class Cost:
    """What the readings so far have cost: tokens written, explanations or clauses scored, activations read."""

    tokens: int = 0
    scored: int = 0
    readings: int = 0


@dataclass
class SearchEngine:
    """An `Engine` whose one completion of each vector is the best that a search finds.

    verify: what decides; budget: N, in whole explanations; temperature: of everything but the greedy explanation.
    """

    verbalizer: Verbalizer
    verify: Verifier
    method: Method
    budget: int
    temperature: float = 1.0
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        if self.budget < 1 or self.temperature <= 0:
            raise UsageError(
                f"a search with budget {self.budget} and temperature {self.temperature}: expected a budget of at "
                "least 1 and a temperature above 0."
            )
        self._continuer = Continuer(self.verbalizer)

    def generate(
        self,
        vectors: Float[Tensor, "n d_model"],
        keys: Sequence[Key] | None = None,
        *,
        samples: int = 1,
        temperature: float = 0.0,
        max_tokens: int,
    ) -> list[list[Completion]]:
        """The best explanation found of each vector; see `Engine.generate`. `temperature` is the search's own.

        Raises:
            UsageError: more than one sample is asked for: a search ends with one explanation.
        """
        if samples != 1:
            raise UsageError(
                f"samples is {samples}, but a search ends with one explanation.\n"
                "  Leave --samples out: --budget says how many explanations may be written."
            )
        search = {"best-of-n": self._best_of_n, "beam": self._beam, "tree": self._tree}[self.method]
        run = _Search(self, vectors.float().cpu(), numbered(0, len(vectors)) if keys is None else keys, max_tokens)
        self.cost.readings += len(vectors)
        return [[self._continuer.completion(best)] for best in search(run)]

    def _best_of_n(self, run: "_Search") -> list[Partial]:
        rows = range(len(run.vectors))
        drafts = run.write([Draw(row, Partial(), 0) for row in rows], greedy=True)
        candidates = [[one] for one in drafts]
        draws = [Draw(row, Partial(), number) for row in rows for number in range(1, self.budget)]
        for draw, one in zip(draws, run.write(draws), strict=True):
            candidates[draw.row].append(one)
        return run.best(candidates)

    def _beam(self, run: "_Search") -> list[Partial]:
        beams = [[Partial()] for _ in run.vectors]
        width = isqrt(self.budget)
        numbers = [0] * len(beams)
        while any(run.live(one) for kept in beams for one in kept):
            draws, greedy = [], []
            for row, kept in enumerate(beams):
                live = [one for one in kept if run.live(one)]
                for place, one in enumerate(live):
                    share = self.budget // len(live) + (place < self.budget % len(live))
                    for copy in range(share):
                        greedy.append(copy == 0)
                        draws.append(Draw(row, one, numbers[row]))
                        numbers[row] += 1
            grown = run.write_both(draws, greedy, clause=True)
            pools = [[one for one in kept if not run.live(one)] for kept in beams]
            for draw, one in zip(draws, grown, strict=True):
                pools[draw.row].append(one)
            beams = run.kept(pools, width)
        return run.best(beams)

    def _tree(self, run: "_Search") -> list[Partial]:
        first = run.write([Draw(row, Partial(), 0) for row in range(len(run.vectors))], greedy=True)
        trees = [Tree() for _ in first]
        allowed = [self.budget * len(one.ids) - len(one.ids) // 4 for one in first]  # the last one is half over it
        spent = [len(one.ids) for one in first]
        draws, grown = [Draw(row, Partial(), 0) for row in range(len(first))], first
        while draws:
            scores = run.scores([draw.row for draw in draws], grown)
            for draw, one, score in zip(draws, grown, scores, strict=True):
                trees[draw.row].add(one, score)
            numbers = {draw.row: draw.number + 1 for draw in draws}
            draws = [
                Draw(row, start, number)
                for row, number in numbers.items()
                if spent[row] < allowed[row] and (start := trees[row].select(run.max_tokens)) is not None
            ]
            grown = run.write(draws)
            for draw, one in zip(draws, grown, strict=True):
                spent[draw.row] += max(1, len(one.ids) - len(draw.partial.ids))
        return [tree.best for tree in trees]


@dataclass
class _Search:
    """One call of the engine: the activations with their keys, and the limit; counts what is written and scored."""

    engine: SearchEngine
    vectors: Tensor
    keys: Sequence[Key]
    max_tokens: int

    def write(self, draws: Sequence[Draw], *, greedy: bool = False, clause: bool = False) -> list[Partial]:
        grown = self.engine._continuer.write(
            self.vectors,
            self.keys,
            draws,
            clause=clause,
            temperature=0.0 if greedy else self.engine.temperature,
            max_tokens=self.max_tokens,
        )
        pairs = zip(draws, grown, strict=True)
        self.engine.cost.tokens += sum(len(one.ids) - len(draw.partial.ids) for draw, one in pairs)
        return grown

    def write_both(self, draws: Sequence[Draw], greedy: Sequence[bool], *, clause: bool) -> list[Partial]:
        """As `write`, some of the draws greedily."""
        by_place: dict[int, Partial] = {}
        for kind in (True, False):
            places = [place for place, flag in enumerate(greedy) if flag is kind]
            grown = self.write([draws[place] for place in places], greedy=kind, clause=clause)
            by_place |= dict(zip(places, grown, strict=True))
        return [by_place[place] for place in range(len(draws))]

    def live(self, partial: Partial) -> bool:
        """Whether more can be written."""
        return not partial.ended and len(partial.ids) < self.max_tokens

    def scores(self, rows: Sequence[int], partials: Sequence[Partial], *, whole: bool = True) -> list[float]:
        """The verifier's scores; `NOTHING` for what cannot end any more or, with `whole`, has not ended."""
        texts = [self.engine._continuer.readable(one) for one in partials]
        real = [i for i, one in enumerate(partials) if texts[i] and (one.ended or (self.live(one) and not whole))]
        scores = [NOTHING] * len(partials)
        if real:
            scored = self.engine.verify(self.vectors[[rows[i] for i in real]], [texts[i] for i in real]).tolist()
            self.engine.cost.scored += len(real)
            for i, score in zip(real, scored, strict=True):
                scores[i] = score
        return scores

    def kept(self, pools: Sequence[Sequence[Partial]], width: int, *, whole: bool = False) -> list[list[Partial]]:
        """The best `width` different candidates of each activation."""
        different = [list({(one.ids, one.ended): one for one in pool}.values()) for pool in pools]
        flat = [(row, one) for row, pool in enumerate(different) for one in pool]
        scores = iter(self.scores([row for row, _ in flat], [one for _, one in flat], whole=whole))
        ranked = [sorted((next(scores), place) for place in range(len(pool))) for pool in different]
        return [[pool[place] for _, place in order[:width]] for pool, order in zip(different, ranked, strict=True)]

    def best(self, pools: Sequence[Sequence[Partial]]) -> list[Partial]:
        """The best whole explanation of each activation."""
        return [pool[0] for pool in self.kept(pools, 1, whole=True)]
