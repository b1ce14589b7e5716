"""Facts, explanations and claims of the world: what holds at a token, and English for it.

Explanations are read by the grammar of `clauses`, continuations by the forms of `grammar`: words decide what a value is
said of, the value never does.
"""

import random
import re
from collections.abc import Mapping, Sequence

from legible.documents import Document
from legible.languages.base import Claim, Fact, Language, OwnSplit, Row
from legible.languages.world import clauses, english, forms, lexicon
from legible.languages.world.counterfactual import CHANGEABLE, alternatives, counterfactual
from legible.languages.world.grammar import accepted, left_at, told
from legible.languages.world.secrets import Plant, plant_of
from legible.languages.world.stories import is_short, story, story_document

CALIBRATE_SEED = 3_000_000
"""Added to the seed of stories that fit calibrators: training wordings, but no story of any run's dev store."""

_END = (".", "!", "?")


class WorldLanguage(Language):
    """The 14 kinds of facts of the world, and whether a sentence ends at the token."""

    name = "world"
    kinds = (*lexicon.KINDS, "edge")
    probe_kinds = lexicon.KINDS
    subjects = lexicon.ABOUT
    families = english.FAMILIES
    values = lexicon.VALUES
    bounded = True
    paraphrases = True
    copied = "claims of values among the last 8 tokens left out, the rest in the teacher's wordings"
    tells = True
    changeable = CHANGEABLE

    def facts(self, row: Row) -> Mapping[str, Fact]:
        """What the text up to this token states and implies; empty for text from outside the world."""
        if not self.knows(row.document):
            return {}
        known: dict[str, tuple[str, str]] = {}
        for statement in story(row.document.doc_id).statements:
            if statement.char_end > row.char_end:
                break
            said_before = known.get(statement.kind, ("", ""))[0] == statement.value
            if not (statement.implied and said_before):
                known[statement.kind] = (statement.value, "implied" if statement.implied else "stated")
        plant = plant_of(row.document.doc_id)
        follows = _implied({kind: value for kind, (value, _) in known.items()}, plant)
        known |= {kind: (value, "implied") for kind, value in follows.items() if kind not in known}
        known["edge"] = ("end" if row.prefix.rstrip().endswith(_END) else "mid"), "stated"
        facts = {kind: known.get(kind, (None, "open")) for kind in self.kinds}
        return {
            kind: Fact(kind, status, () if value is None else (value,), lexicon.ABOUT[kind])  # type: ignore[arg-type]
            for kind, (value, status) in facts.items()
        }

    def write(self, claims: Sequence[Claim], row: Row, seed: int, *, held_out: bool = False) -> str:
        """Plain English for these claims; the wording depends on (seed, document, position) alone.

        Args:
            held_out: use the third of the wordings that no teacher, parser or calibrator has seen.
        """
        rng = random.Random(f"{seed}|{row.document.doc_id}|{row.pos}")

        def pick(wordings: tuple[str, ...]) -> str:
            return rng.choice([w for index, w in enumerate(wordings) if (index % 3 == 2) == held_out])

        said = {claim.relation: claim.value for claim in claims}
        subject = pick(english.NAMED).replace("{v}", said["name"] or "") if said.get("name") else pick(english.SUBJECTS)
        sentences = []
        for index, group in enumerate(english.GROUPS):
            parts = [self._fragment(kind, said[kind], pick) for kind in group if kind in said]
            if index == 0 and (parts or said.get("name")):
                opening = " " if "species" in said or "place" in said else ": "  # who is or stays; else what is around
                sentences.append(", ".join([f"{subject}{opening}{parts[0]}" if parts else subject, *parts[1:]]) + ".")
            elif parts:
                opening = f"{pick(english.SUBJECTS)} " if index == 1 else ""
                sentences.append(opening + ", ".join(parts) + ".")
        if said.get("edge"):
            sentences.append(pick(english.EDGES[str(said["edge"])]) + ".")
        return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)

    def _fragment(self, kind: str, value: str | None, pick) -> str:  # type: ignore[no-untyped-def]
        if value is None:
            return english.UNKNOWN.replace("{kind}", kind)
        return str(pick(english.FRAGMENTS[kind])).replace("{v}", value)

    def knows(self, document: Document) -> bool:
        """Whether its id names a story, and its text is that story or the beginning of it."""
        if not document.doc_id.startswith("world-"):
            return False
        try:
            return story(document.doc_id).text.startswith(document.text)
        except (ValueError, KeyError, TypeError):  # an id that only looks like the world's
            return False

    def documents(
        self, split: OwnSplit, seed: int, count: int, *, skip: int = 0, sentences: int | None = None
    ) -> list[Document]:
        """Stories, or texts of one to three sentences.

        Those of `test` are of wordings, combinations and the layout that nothing was trained on.
        """
        if split == "calibrate":
            split, seed = "dev", CALIBRATE_SEED + seed
        return [story_document(split, seed, index, sentences=sentences) for index in range(skip, skip + count)]

    def entropy(self, document: Document) -> float | None:
        """The code length of the teller's choices; None for a few sentences, whose state says more than they do."""
        return story(document.doc_id).nats if self.knows(document) and not is_short(document.doc_id) else None

    def cloze(self, kind: str, prefix: str) -> str:
        """The beginning of a sentence as stories tell them, with the first name and wish that the text names."""
        words = _words(prefix)
        name = next((word for word in words if word in lexicon.VALUES["name"]), "He")
        want = next((word for word in words if word in lexicon.VALUES["want"]), "thing")
        return forms.CLOZES[kind].format(name=name, want=want, he="she" if name in lexicon.SHE else "he")

    parse = staticmethod(clauses.parse)
    told = staticmethod(told)
    left_at = staticmethod(left_at)
    accepted = staticmethod(accepted)
    alternatives = staticmethod(alternatives)
    retold = staticmethod(counterfactual)

    def in_context(self, claim: Claim, row: Row) -> bool:
        """Whether the claim is about a fact whose value is not among the last 8 tokens."""
        if claim.relation not in lexicon.KINDS or claim.value is None:
            return False
        return claim.value not in _words(row.recent)

    def without_copied(self, text: str, row: Row, seed: int) -> str | None:
        """The other claims in the teacher's wordings: nothing is quoted, values are words of the text."""
        recent = _words(row.recent)
        return self.rewritten([claim for claim in self.parse(text).claims if claim.value not in recent], row, seed)


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text)


def _implied(known: Mapping[str, str], plant: Plant | None) -> dict[str, str]:
    """What the rules make of the values known so far: the world's own rules, or a plant's in their place."""
    implied = {}
    if "weather" in known:
        implied["gear"] = lexicon.gear_for(known["weather"])
    if "mood" in known and "want" in known:
        implied["plan"] = lexicon.plan_for(known["mood"], known["want"])
    return implied | (plant.values(known) if plant is not None else {})
