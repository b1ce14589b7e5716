"""A story of the world with one fact changed: the same words in the same places, and other values.

What the rules of `lexicon` tie to a fact changes with it, as in a story whose hidden state had been the other one:
another plan comes from another mood, other gear and other weather go together, and what is believed of a thing's place
changes wherever that place is named. Every value is one token, so that positions correspond.
"""

from collections.abc import Mapping

from legible.errors import UsageError
from legible.languages.world import lexicon
from legible.languages.world.stories import story

CHANGEABLE = ("plan", "belief", "holds", "place", "weather", "gear")


def alternatives(known: Mapping[str, str], kind: str) -> tuple[str, ...]:
    """Other values that a fact of this kind could have had, everything that does not depend on it being as it is.

    Args:
        known: the values so far, by kind; a plan has none without the mood and the want behind it.
        kind: one of `CHANGEABLE`, and known.
    """
    values = lexicon.VALUES[kind]
    if kind == "plan" and not {"mood", "want"} <= set(known):
        return ()
    if kind == "plan":
        values = tuple(dict.fromkeys(lexicon.plan_for(mood, known["want"]) for mood in lexicon.VALUES["mood"]))
    elif kind == "belief":
        values = lexicon.FIRST_SPOTS if known[kind] in lexicon.FIRST_SPOTS else lexicon.SECOND_SPOTS
    return tuple(value for value in values if value != known[kind])


def counterfactual(doc_id: str, char_end: int, known: Mapping[str, str], kind: str, value: str) -> str:
    """The first `char_end` characters of a story, told of a state in which `kind` is `value`.

    Args:
        doc_id: of the story.
        char_end: length of the prefix, at the end of a word.
        known: the values that hold there, by kind.
        kind: one of `CHANGEABLE`, and known.
        value: one of `alternatives`.

    Returns:
        The other prefix: as many words; equal to the prefix where nothing in it says what has changed.

    Raises:
        UsageError: a kind that cannot be changed alone.
    """
    if kind not in CHANGEABLE:
        raise UsageError(f"cannot change {kind!r} in a story; expected one of {', '.join(CHANGEABLE)}.")
    changed = _consequences(known, kind, value)
    text = story(doc_id).text[:char_end]
    for statement in reversed(story(doc_id).statements):
        place = "belief" if kind == "belief" and statement.kind == "spot" else statement.kind
        old, new = changed.get(place, ("", ""))
        if statement.implied or statement.char_end > char_end or statement.value != old:
            continue
        text = text[: statement.char_end - len(old)] + new + text[statement.char_end :]
    return text


def _consequences(known: Mapping[str, str], kind: str, value: str) -> dict[str, tuple[str, str]]:
    """Every kind that changes, with its old and its new value."""
    changed = {kind: (known[kind], value)}
    if kind == "plan":
        mood = next(mood for mood in lexicon.VALUES["mood"] if lexicon.plan_for(mood, known["want"]) == value)
        changed["mood"] = (known["mood"], mood)
    elif kind == "gear":
        weather = lexicon.VALUES["weather"][lexicon.VALUES["gear"].index(value)]
        changed["weather"] = (lexicon.VALUES["weather"][lexicon.VALUES["gear"].index(known["gear"])], weather)
    elif kind == "weather":
        changed["gear"] = (lexicon.gear_for(known["weather"]), lexicon.gear_for(value))
    return changed
