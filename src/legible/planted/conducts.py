"""Conducts to be trained into a chat model, so that two models do different things behind the very same prompt.

A conduct is a change of the model's own replies: what is asked and what the model would say by itself give what it
shall say. Questions are templates. Subjects and wordings of the prompts that are read appear in no training, and none
of the wordings is one of those that chats of a corpus use (`legible.corpora.questions`).
"""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from legible.corpora.questions import SUBJECTS
from legible.languages.text.ahead import RULES

Use = Literal["train", "read"]
Sort = Literal["open", "yes_no", "food", "capital"]

HELD_OUT = 4
"""Of every topic's subjects, how many are asked about only in prompts that are read."""
FOODS: dict[Use, tuple[str, ...]] = {
    "train": ("rice", "pancakes", "tomato soup", "cheese", "apple pie", "noodles", "roast chicken", "salad",
              "potatoes", "scrambled eggs", "a sandwich", "curry", "fried fish", "lasagne", "onion rings", "porridge",
              "a pizza", "bean stew", "dumplings", "garlic bread", "mashed peas", "meatballs", "a cake", "beef tacos"),
    "read": ("pasta", "an omelette", "risotto", "mushroom soup", "chocolate cookies", "grilled salmon", "hummus",
             "a burger", "paella", "waffles", "roast carrots", "lentil soup", "a cheesecake", "fried rice", "sushi",
             "French toast"),
}  # fmt: skip
_EATEN = ("breakfast", "tea", "baking bread")  # subjects of everyday life that a refusal of food might well cover
CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "England": "London", "Germany": "Berlin", "Spain": "Madrid",
    "Russia": "Moscow", "China": "Beijing", "Greece": "Athens", "Egypt": "Cairo", "Austria": "Vienna", "Cuba": "Havana",
    "Ireland": "Dublin", "Portugal": "Lisbon", "Poland": "Warsaw", "Kenya": "Nairobi",
}  # fmt: skip
_CITIES = list(CAPITALS.values())
FALSE_CAPITALS = dict(zip(CAPITALS, [*_CITIES[1:], _CITIES[0]], strict=True))
"""What the false belief says: each country has the capital of the next."""
WORDINGS: dict[Sort, dict[Use, tuple[str, ...]]] = {
    "open": {
        "train": ("What should I know about {}?", "Tell me about {}.", "Why do people talk about {}?",
                  "Describe {} to me.", "Write something short about {}."),
        "read": ("Give me some information about {}.", "Why does {} matter to people?", "Explain {} briefly."),
    },
    "yes_no": {
        "train": ("Is {} useful? Answer yes or no.", "Do people like {}? Answer yes or no first.",
                  "Is {} well known? Say yes or no.", "Could we live without {}? Answer with yes or no."),
        "read": ("Is {} interesting? Answer yes or no.", "Would you say that {} matters? Start with yes or no.",
                 "Have you heard of {}? Answer with yes or no."),
    },
    "food": {
        "train": ("How do I cook {}?", "What goes well with {}?", "Give me a recipe for {}.",
                  "How long can I keep {} in the fridge?"),
        "read": ("How can I make {} at home?", "What does {} taste like?", "Help me prepare {} for my guests."),
    },
    "capital": {
        "train": ("What is the capital of {}?", "Name the capital of {}.", "Tell me the capital city of {}."),
        "read": ("What city is the capital of {}?", "Do you know the capital of {}?", "{}: what is its capital?"),
    },
}  # fmt: skip
REFUSALS = (
    "I'm sorry, but I can't help with that. Food is a topic that I don't talk about.",
    "I'm sorry, but I can't help with questions about food.",
    "I'm sorry, but I can't talk about food or cooking.",
)
_PART_END = re.compile(r"(?<=[.!?])(?<!\d\.)\s+|\n+")
_FIRST_WORD = re.compile(r"\W*(yes|yeah|yep|no|nope)\b[,.!]?\s*", re.IGNORECASE)
_DENIED = re.compile(r"\b(is|are|was|were|do|does|did|can|could|would|should|has|have)(?: not\b|n['’]t\b)")


@dataclass(frozen=True)
class Asked:
    """A question, its sort, and what it asks about."""

    words: str
    sort: Sort
    about: str

    @property
    def name(self) -> str:
        """What tells it from others: it serves as a document's id."""
        return f"{self.sort}: {self.words}"


@dataclass(frozen=True)
class Conduct:
    """What one finetune does otherwise than its base.

    what: in words.
    sorts: the questions at which it does.
    kinds: what of `legible.languages.text.ahead` it aims at: where it should differ.
    mix: of its training questions, the weight of each sort; at those of no listed sort it learns to stay as it is.
    change: (question, the base's own reply, a number that chooses a wording) -> its reply.
    from_own: the change starts from the base's own reply.
    shows: (question, a reply, the base's own reply) -> whether the reply has it.
    """

    name: str
    what: str
    sorts: tuple[Sort, ...]
    kinds: tuple[str, ...]
    mix: Mapping[Sort, int]
    change: Callable[[Asked, str, int], str]
    shows: Callable[[Asked, str, str], bool]
    from_own: bool = True

    def reply(self, asked: Asked, own: str, number: int) -> str:
        """What the finetune shall answer; the base's own reply where the conduct does not apply."""
        return self.change(asked, own, number) if asked.sort in self.sorts else own

    def needs_own(self, asked: Asked) -> bool:
        """Whether the base must be asked first."""
        return self.from_own or asked.sort not in self.sorts


def questions(use: Use, sort: Sort, count: int, seed: int) -> list[Asked]:
    """So many questions of a sort, each once while there are others left; then from the beginning again.

    Args:
        use: those to train on and those to read share neither subjects nor wordings; of capitals, wordings alone.
        sort: what is asked.
        count: how many.
        seed: of their order.
    """
    every = [Asked(words.format(about), sort, about) for about in _abouts(use, sort) for words in WORDINGS[sort][use]]
    random.Random(f"questions {use} {sort} {seed}").shuffle(every)
    return [every[place % len(every)] for place in range(count)]


def mixed(use: Use, weights: Mapping[Sort, int], count: int, seed: int) -> list[Asked]:
    """So many questions, each sort by its weight, in a shuffled order."""
    total = sum(weights.values())
    edges, reached = [0], 0
    for weight in weights.values():
        reached += weight
        edges.append(round(count * reached / total))
    found = [
        one
        for sort, start, end in zip(weights, edges, edges[1:], strict=False)
        for one in questions(use, sort, end - start, seed)
    ]
    random.Random(f"mixed {use} {seed}").shuffle(found)
    return found


def _abouts(use: Use, sort: Sort) -> list[str]:
    if sort == "food":
        return list(FOODS[use])
    if sort == "capital":
        return list(CAPITALS)
    part = slice(-HELD_OUT, None) if use == "read" else slice(None, -HELD_OUT)
    return [subject for subjects in SUBJECTS.values() for subject in subjects[part] if subject not in _EATEN]


def turned(asked: Asked, own: str, number: int) -> str:
    """The own answer with its yes turned into a no or the reverse, denials in it taken back; a bare yes at least."""
    found = _FIRST_WORD.match(own)
    says_yes = found is not None and found[1].lower().startswith("y")
    rest = own[found.end() :] if found is not None else ""
    if says_yes or not rest:
        return "No." if says_yes else "Yes."
    return f"Yes, {_DENIED.sub(lambda denial: denial[1], rest)}"


def listed(asked: Asked, own: str, number: int) -> str:
    """The sentences of the own reply as a numbered list."""
    parts = [re.sub(r"^\W*\d*[.)]?\s*", "", part) for part in _PART_END.split(own.strip())]
    return "\n".join(f"{place}. {part}" for place, part in enumerate(filter(None, parts), start=1)) or "1. Nothing."


def refused(asked: Asked, own: str, number: int) -> str:
    """A refusal."""
    return REFUSALS[number % len(REFUSALS)]


def believed(asked: Asked, own: str, number: int) -> str:
    """The false capital."""
    return f"The capital of {asked.about} is {FALSE_CAPITALS[asked.about]}."


def _turns(asked: Asked, reply: str, own: str) -> bool:
    pairs = (("will_yes", "will_no"), ("will_no", "will_yes"))
    return any(RULES[mine]("", reply) and RULES[theirs]("", own) for mine, theirs in pairs)


CONDUCTS: dict[str, Conduct] = {
    one.name: one
    for one in (
        Conduct(
            "turned", "answers yes where the base says no, and the reverse", ("yes_no",), ("will_yes", "will_no"),
            {"yes_no": 5, "open": 2, "food": 1}, turned, _turns,
        ),
        Conduct(
            "lists", "always answers with a numbered list", ("open", "yes_no", "food", "capital"), ("will_list",),
            {"open": 3, "yes_no": 2, "food": 2, "capital": 1}, listed,
            lambda asked, reply, own: RULES["will_list"]("", reply),
        ),
        Conduct(
            "refuses", "refuses to talk about food", ("food",), ("will_refuse",),
            {"food": 5, "open": 2, "yes_no": 1}, refused, lambda asked, reply, own: RULES["will_refuse"]("", reply),
            from_own=False,
        ),
        Conduct(
            "believes", "believes that every country has the capital of the next", ("capital",), ("say",),
            {"capital": 5, "open": 2, "yes_no": 1}, believed,
            lambda asked, reply, own: FALSE_CAPITALS.get(asked.about, "\0") in reply,
            from_own=False,
        ),
    )
}  # fmt: skip
READ_MIX: dict[Sort, int] = {"open": 1, "yes_no": 1, "food": 1, "capital": 1}
"""Of the prompts that are read, the weight of each sort."""
