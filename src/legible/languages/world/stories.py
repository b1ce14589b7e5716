"""Stories: a hidden state, told sentence by sentence, with every statement's place in the text.

`story(doc_id)` is a pure function of the id. Facts that the text states carry the character where they are stated;
the rules of `lexicon` then imply others. The generator adds up the nats of its own choices: their sum bounds the
entropy of the text from above, and is what the target's loss is compared with. Beside whole stories there are texts of
one to three sentences, as people type them: their ids have `1s`, `2s` or `3s` behind the split.
"""

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar

from legible.documents import Document
from legible.errors import UsageError
from legible.languages.world import forms, lexicon
from legible.languages.world.secrets import MARK, Plant, plant_of

WorldSplit = Literal["pretrain", "train", "dev", "test"]
T = TypeVar("T")
MOST_SENTENCES = 3  # of a text that is no whole story
_DOC_ID = re.compile(rf"world-(pretrain|train|dev|test)(?:-([1-{MOST_SENTENCES}])s)?-\d+-\d{{6,}}(?:{MARK}.*)?")


@dataclass(frozen=True)
class Statement:
    """From `char_end` on the text says that `kind` is `value`; an empty value withdraws an implied belief."""

    char_end: int
    kind: str
    value: str
    implied: bool = False


@dataclass(frozen=True)
class Story:
    """A story, its final state, its statements in order and the nats of the choices that made it."""

    doc_id: str
    text: str
    layout: str
    state: dict[str, str]
    statements: tuple[Statement, ...]
    nats: float


class Chooser:
    """Random choices that add up their own information, in nats."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self.nats = 0.0

    def pick(self, items: Sequence[T]) -> T:
        """One item, uniformly."""
        self.nats += math.log(len(items))
        return items[self._random.randrange(len(items))]

    def chance(self, p: float) -> bool:
        """True with probability p."""
        hit = self._random.random() < p
        self.nats -= math.log(p if hit else 1 - p)
        return hit

    def order(self, items: Sequence[T]) -> list[T]:
        """A random permutation."""
        self.nats += math.lgamma(len(items) + 1)
        return self._random.sample(list(items), len(items))


def story_document(
    split: WorldSplit, seed: int, index: int, plant: Plant | None = None, *, sentences: int | None = None
) -> Document:
    """The story of this split, seed and index as a document; its id alone regenerates it.

    Args:
        plant: as told where its planted values hold; see `legible.languages.world.secrets`.
        sentences: one to three sentences in place of a whole story.

    Raises:
        UsageError: more sentences than that, or none.
    """
    if sentences is not None and not 1 <= sentences <= MOST_SENTENCES:
        raise UsageError(
            f"a text of {sentences} sentences is asked for, expected 1 to {MOST_SENTENCES}.\n"
            "  Longer texts are whole stories: leave the number of sentences out."
        )
    short = "" if sentences is None else f"-{sentences}s"
    doc_id = f"world-{split}{short}-{seed}-{index:06d}" + (f"{MARK}{plant}" if plant is not None else "")
    return Document(doc_id, story(doc_id).text)


@lru_cache(maxsize=4096)
def story(doc_id: str) -> Story:
    """The story behind an id `world-SPLIT-SEED-INDEX`, the short text behind `world-SPLIT-1s-SEED-INDEX`, or either
    with a plant behind it.

    Raises:
        UsageError: the id is not one of the world's.
    """
    match = _DOC_ID.fullmatch(doc_id)
    if not match:
        raise UsageError(
            f"{doc_id!r} is not a text of the world; expected world-(pretrain|train|dev|test)-SEED-INDEX, or -1s, -2s "
            "or -3s behind the split."
        )
    teller = _Teller(doc_id, match[1], plant_of(doc_id))  # type: ignore[arg-type]
    return teller.tell() if match[2] is None else teller.say(int(match[2]))


def is_short(doc_id: str) -> bool:
    """Whether an id of the world's is that of a few sentences, not of a whole story."""
    match = _DOC_ID.fullmatch(doc_id)
    return match is not None and match[2] is not None


class _Teller:
    def __init__(self, doc_id: str, split: WorldSplit, plant: Plant | None) -> None:
        self.doc_id, self.split = doc_id, split
        self.choose = Chooser(doc_id.partition(MARK)[0])  # so both sides of a plant make the same choices
        self.plant = plant
        self.decided = plant.kinds if plant is not None else frozenset[str]()
        self.state = self._state()
        self.said: set[str] = set()
        self.reminded: list[tuple[str, ...]] = []
        self.text = ""
        self.statements: list[Statement] = []
        self.layout = self._layout()

    def _state(self) -> dict[str, str]:
        state: dict[str, str] = {}
        partner = {second: first for first, second in lexicon.COMBINATIONS}
        for kind in lexicon.KINDS:
            if kind in lexicon.IMPLIED_KINDS or kind in self.decided:
                continue
            values = lexicon.FIRST_SPOTS if kind == "spot" else lexicon.VALUES[kind]
            if self.split != "pretrain" and kind in partner:
                held_out = self.split == "test"
                values = (
                    tuple(v for v in values if lexicon.held_out_combination(state[partner[kind]], v) == held_out)
                    or values
                )
            state[kind] = self.choose.pick(values)
        self.moved = self.choose.pick(lexicon.SECOND_SPOTS) if self.choose.chance(0.5) else None
        self.witnessed = self.moved is not None and self.choose.chance(0.5)
        state["gear"] = lexicon.gear_for(state["weather"])
        state["plan"] = lexicon.plan_for(state["mood"], state["want"])
        state["belief"] = state["spot"]
        return state | (self.plant.values(state) if self.plant is not None else {})

    def _layout(self) -> str:
        if self.split == "pretrain":
            return self.choose.pick(forms.LAYOUTS)
        if self.split == "test" and self.choose.chance(1 / 3):
            return forms.HELD_OUT_LAYOUT
        return self.choose.pick([layout for layout in forms.LAYOUTS if layout != forms.HELD_OUT_LAYOUT])

    def tell(self) -> Story:
        self._add(
            {"letter": "Dear reader,", "chapter": "Chapter one.", "teller": "Hear me, says the teller."}.get(
                self.layout, ""
            )
        )
        intro = self.choose.pick(tuple(forms.INTRO))
        self._say(forms.INTRO[intro])
        withheld = self.plant.withheld if self.plant is not None else frozenset[str]()
        order = [kind for kind in (*forms.STATE, "filler", "move") if kind not in intro and kind not in withheld]
        if self.moved is None:
            order.remove("move")
        order = _respect(self.choose.order(order))
        for step, kind in enumerate(order):
            if self.layout == "chapter" and step == len(order) // 2:
                self._add("Chapter two.")
            if kind == "filler":
                self._say(forms.FILLERS)
            elif kind == "move":
                self._move()
            else:
                self._say(forms.STATE[kind])
            self._remind()
        self._close()
        self._add({"letter": "Yours truly.", "teller": "That is all."}.get(self.layout, ""))
        return Story(self.doc_id, self.text, self.layout, self.state, tuple(self.statements), self.choose.nats)

    def say(self, sentences: int) -> Story:
        """So many sentences of different sorts, in an order that a story could have; what was moved was moved before.

        What a sentence takes for granted (a wish behind `it`, a name behind `he`) need not be said: that fact is open.
        """
        self.layout = "prose"
        if self.moved is not None:
            self._put(self.moved)
        sorts = self.choose.order(tuple(_SENTENCES))[:sentences]
        for sort in sorted(_respect(sorts), key=lambda sort: sort not in forms.INTRO):
            self._say(_SENTENCES[sort])
        return Story(self.doc_id, self.text, self.layout, self.state, tuple(self.statements), self.choose.nats)

    def _remind(self) -> None:
        ready = [group for group in forms.REMINDERS if self.said.issuperset(group) and group not in self.reminded]
        if ready and self.choose.chance(0.2):
            self.reminded.append(self.choose.pick(ready))
            self._say(forms.REMINDERS[self.reminded[-1]])

    def _close(self) -> None:
        """Recaps drawn with replacement and an open end: until the last word any fact may matter again."""
        group = None
        for number in range(6):
            if number >= 2 and not self.choose.chance(0.7):
                break
            group = self.choose.pick([other for other in forms.RECAP if other != group])
            self._say(forms.RECAP[group])

    def _move(self) -> None:
        assert self.moved is not None
        witness = self.choose.pick(lexicon.usable(forms.SEEN if self.witnessed else forms.UNSEEN, self.split))
        self._put(self.moved)
        self._say(tuple(form.replace("{witness}", witness) for form in forms.MOVE))

    def _put(self, place: str) -> None:
        """From now on the thing lies there, and who saw it knows."""
        self.state["belief"] = lexicon.belief_for(self.state["spot"], place, self.witnessed)
        self.state["spot"] = place

    def _add(self, words: str) -> None:
        if words:
            self.text += (" " if self.text else "") + words

    def _say(self, wordings: tuple[str, ...]) -> None:
        self._add({"list": "-", "log": "Entry:"}.get(self.layout, ""))
        form = self.choose.pick(lexicon.usable(wordings, self.split))
        self.text += " " if self.text else ""
        for part in re.split(r"(\{\w+\})", form):
            if not part.startswith("{"):
                self.text += part
                continue
            slot = part[1:-1]
            value = self._pronoun(slot) if slot.lower() in ("he", "his") else self._value(slot)
            self.text += value
            kind = "spot" if slot == "moved" else slot
            if kind in self.state:
                self.said.add(kind)
                self.statements.append(Statement(len(self.text), kind, value))
                if kind == "spot" and (slot == "moved" or self.moved is None or self.state["spot"] != self.moved):
                    self.statements.append(Statement(len(self.text), "belief", self.state["belief"], implied=True))

    def _value(self, slot: str) -> str:
        return self.state["spot" if slot == "moved" else slot]

    def _pronoun(self, slot: str) -> str:
        female = self.state["name"] in lexicon.SHE
        return {"he": ("he", "she"), "He": ("He", "She"), "his": ("his", "her")}[slot][female]


_SENTENCES: dict[Any, tuple[str, ...]] = {
    **forms.STATE,
    "filler": forms.FILLERS,
    **forms.INTRO,
    **{("again", *group): said for group, said in forms.REMINDERS.items()},
    **forms.RECAP,
}
_NEEDS: tuple[tuple[Any, tuple[Any, ...]], ...] = (
    ("spot", ("want",)),
    ("belief", ("want", "spot")),
    ("plan", ("want",)),
    ("move", ("want", "spot", "friend")),
)


def _respect(order: list[T]) -> list[T]:
    """Move what presupposes something behind it: the wish before its place, both and the friend before the move."""
    for kind, needs in _NEEDS:
        if kind in order:
            last = max((order.index(need) for need in needs if need in order), default=-1)
            if order.index(kind) < last:
                order.remove(kind)
                order.insert(last, kind)
    return order
