"""A tree of clauses for one activation: where to go on anew, from what followed so far.

A node is the beginning of an explanation up to the end of a clause. Every whole explanation written from a node gives
its score to all nodes on its way. Selection goes down from the root by upper confidence bounds (UCT) until it meets a
node that has few children for its visits: there the next explanation branches off.
"""

import math
from dataclasses import dataclass, field

from legible.engines.partial import Partial

EXPLORE = 0.5  # weight of the confidence bound; values are scaled to [0, 1] within the tree
WIDEN = 0.5  # a node branches while it has fewer than visits ** WIDEN children (progressive widening)


@dataclass
class Node:
    """The beginning of an explanation; `total` sums the scores of the explanations that went through it."""

    start: Partial
    children: dict[tuple[int, ...], "Node"] = field(default_factory=dict)
    visits: int = 0
    total: float = 0.0


class Tree:
    """All explanations of one activation written so far; scores are errors, smaller is better."""

    def __init__(self) -> None:
        self.root = Node(Partial())
        self._best: tuple[float, Partial] | None = None
        self._range = (math.inf, -math.inf)

    @property
    def best(self) -> Partial:
        """The whole explanation with the smallest score."""
        assert self._best is not None
        return self._best[1]

    def add(self, whole: Partial, score: float) -> None:
        """Enter an explanation: one node a clause, the score added on the way.

        One that never ended counts as the worst so far, lest it set the scale alone.
        """
        score = score if whole.ended or self._best is None else self._range[1]
        if self._best is None or score < self._best[0]:
            self._best = (score, whole)
        self._range = (min(self._range[0], score), max(self._range[1], score))
        node, length = self.root, 0
        node.visits, node.total = node.visits + 1, node.total + score
        for place, size in enumerate(whole.clauses):
            clause = whole.ids[length : length + size]
            length += size
            start = Partial(whole.ids[:length], whole.logprobs[:length], None, whole.clauses[: place + 1])
            node = node.children.setdefault(clause, Node(start))
            node.visits, node.total = node.visits + 1, node.total + score

    def select(self, max_tokens: int) -> Partial | None:
        """The beginning from which the next explanation should be written; None where none has room."""
        node = self.root
        while True:
            inner = [child for child in node.children.values() if child.children]
            if not inner or len(node.children) < node.visits**WIDEN:
                return node.start if len(node.start.ids) < max_tokens else None
            node = max(inner, key=lambda child: self._bound(child, node.visits))

    def _bound(self, child: Node, visits: int) -> float:
        low, high = self._range
        value = (high - child.total / child.visits) / (high - low) if high > low else 0.0
        return value + EXPLORE * math.sqrt(math.log(visits) / child.visits)
