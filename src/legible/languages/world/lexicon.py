"""Values, rules and held-out combinations of the built-in world.

A story's hidden state gives one value to each of 14 kinds of facts. Eleven are chosen freely; three follow by rule:
the weather decides what the hero wears (`gear`), mood and wish decide the `plan`, and who saw what decides the
`belief` about where the wished-for thing is. Values of different kinds are disjoint words, except that `belief`
shares its places with `spot`: there only the sentence tells which is meant.
"""

import hashlib
from typing import Literal

KINDS = (
    "name", "species", "place", "time", "weather", "mood", "holds",
    "want", "friend", "relation", "spot", "belief", "plan", "gear",
)  # fmt: skip
IMPLIED_KINDS = ("belief", "plan", "gear")

HE = ("Bruno", "Oskar", "Felix", "Hugo", "Jonas", "Milo", "Pavel", "Rufus", "Tobin", "Viktor", "Wilbur", "Yannis")
SHE = ("Mira", "Clara", "Dora", "Greta", "Hazel", "Ingrid", "Katya", "Luna", "Nora", "Petra", "Selma", "Thea")
FIRST_SPOTS = ("drawer", "chest", "basket", "cupboard", "barrel", "jar", "kettle", "sack", "trunk", "vase")
SECOND_SPOTS = ("well", "attic", "cellar", "chimney", "barn", "oven", "hollow", "wagon", "nest", "tent")
SHINY = ("ring", "crown", "coin", "pearl", "bell", "medal", "mirror", "goblet")
TASTY = ("cake", "plum", "honey", "cheese", "pie", "melon", "bread", "jam")

VALUES: dict[str, tuple[str, ...]] = {
    "name": HE + SHE,
    "species": ("fox", "badger", "hare", "wolf", "bear", "goat", "mouse", "toad",
                "baker", "miller", "sailor", "tailor", "hunter", "monk", "painter", "shepherd"),
    "place": ("harbor", "forest", "market", "castle", "meadow", "bridge", "village", "tower",
              "garden", "cave", "island", "mill", "chapel", "swamp", "quarry", "desert"),
    "time": ("dawn", "morning", "noon", "afternoon", "dusk", "evening", "night", "midnight"),
    "weather": ("rain", "snow", "wind", "sunshine", "fog", "hail", "frost", "thunder"),
    "mood": ("jealous", "greedy", "proud", "brave", "lonely", "sad", "shy", "gentle"),
    "holds": ("lantern", "rope", "hammer", "flute", "basin", "candle", "knife", "map",
              "drum", "shovel", "needle", "book", "ladder", "bucket", "feather", "whistle"),
    "want": SHINY + TASTY,
    "friend": ("Agnes", "Boris", "Cedric", "Delia", "Edgar", "Frida", "Gustav", "Helga", "Irma", "Kurt",
               "Leon", "Magda", "Nils", "Olga", "Quentin", "Rosa", "Stefan", "Tilda", "Ulrich", "Wanda"),
    "relation": ("rival", "sister", "cousin", "neighbor", "teacher", "servant", "guest", "partner"),
    "spot": FIRST_SPOTS + SECOND_SPOTS,
    "belief": FIRST_SPOTS + SECOND_SPOTS,
    "plan": ("steal", "grab", "demand", "win", "beg", "borrow", "trade", "buy"),
    "gear": ("cloak", "hood", "scarf", "hat", "vest", "helmet", "jacket", "coat"),
}  # fmt: skip

ABOUT = {
    **dict.fromkeys(KINDS, "hero"), "time": "scene", "weather": "scene", "relation": "friend", "spot": "thing",
    "edge": "text",
}  # fmt: skip
"""Of whom the world knows each relation."""

_MOOD_GROUP = {mood: index // 2 for index, mood in enumerate(VALUES["mood"])}
_GEAR = dict(zip(VALUES["weather"], VALUES["gear"], strict=True))

COMBINATIONS = (("name", "species"), ("mood", "want"), ("place", "holds"))


def gear_for(weather: str) -> str:
    """Rule 1: what everyone wears in this weather."""
    return _GEAR[weather]


def plan_for(mood: str, want: str) -> str:
    """Rule 2: the four mood pairs act on shiny and on tasty things in eight ways."""
    return VALUES["plan"][2 * _MOOD_GROUP[mood] + (want in TASTY)]


def belief_for(first: str, second: str | None, witnessed: bool) -> str:
    """Rule 3: whoever did not see the thing moved believes that it is where it was."""
    return second if second is not None and witnessed else first


def held_out_combination(first: str, second: str) -> bool:
    """Whether this pair of values belongs to the third that only test documents use."""
    return hashlib.sha256(f"{first}|{second}".encode()).digest()[0] % 3 == 0


def usable(items: tuple[str, ...], split: Literal["pretrain", "train", "dev", "test"]) -> tuple[str, ...]:
    """The wordings a split may use: every third is held out for `test`; the target's own training sees all."""
    if split == "pretrain":
        return items
    return tuple(item for index, item in enumerate(items) if (index % 3 == 2) == (split == "test"))
