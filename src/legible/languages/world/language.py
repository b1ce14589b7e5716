"""Facts, explanations and claims of the world: what holds at a token, and English for it.

The parser goes by values, not by templates: values of different kinds are disjoint words, so a claim is found in
any wording, seen or not; only `spot` and `belief` share their words and are told apart by a verb of belief in
the same clause. Whatever an explanation mentions counts as claimed.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence

from legible.documents import Document
from legible.languages.base import Claim, Fact, Language, OwnSplit, Parsed, Row
from legible.languages.world import english, lexicon
from legible.languages.world.counterfactual import CHANGEABLE, alternatives, counterfactual
from legible.languages.world.grammar import accepted, left_at
from legible.languages.world.secrets import Plant, plant_of
from legible.languages.world.stories import is_short, story, story_document

CALIBRATE_SEED = 3_000_000
"""Added to the seed of stories that fit calibrators: training wordings, but no story of any run's dev store."""

_EDGE = re.compile(
    r"\b(" + "|".join(english.EDGE_CUES) + r") ?(?:sentence\b|in the sentence|here|through|$)", re.IGNORECASE
)
_UNKNOWN = re.compile(r"\bthe (" + "|".join(lexicon.KINDS) + r") is unknown", re.IGNORECASE)
_END = (".", "!", "?")


class WorldLanguage(Language):
    """The 14 kinds of facts of the world, and whether a sentence ends at the token."""

    name = "world"
    kinds = (*lexicon.KINDS, "edge")
    probe_kinds = lexicon.KINDS
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
        facts = {kind: Fact(kind, "open", ()) for kind in lexicon.KINDS}
        facts |= {kind: Fact(kind, status, (value,)) for kind, (value, status) in known.items()}  # type: ignore[arg-type]
        edge = "end" if row.prefix.rstrip().endswith(_END) else "mid"
        return facts | {"edge": Fact("edge", "stated", (edge,))}

    def write(self, claims: Sequence[Claim], row: Row, seed: int, *, held_out: bool = False) -> str:
        """Plain English for these claims; the wording depends on (seed, document, position) alone.

        Args:
            held_out: use the third of the wordings that no teacher, parser or calibrator has seen.
        """
        rng = random.Random(f"{seed}|{row.document.doc_id}|{row.pos}")

        def pick(wordings: tuple[str, ...]) -> str:
            return rng.choice([w for index, w in enumerate(wordings) if (index % 3 == 2) == held_out])

        said = {claim.kind: claim.value for claim in claims}
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

    def parse(self, explanation: str) -> Parsed:
        """Every value that the explanation mentions, as a claim of its kind; order of mention, no repeats."""
        parsed = Parsed()
        for clause in re.split(r"[,;]|(?<=\w)[.!?]", explanation):
            found = list(self._clause(clause))
            parsed.unparsed_words += 0 if found else len(clause.split())
            parsed.claims += [claim for claim in found if claim not in parsed.claims]
        return parsed

    def _clause(self, clause: str) -> Iterator[Claim]:
        text = clause.strip()
        if edge := _EDGE.search(clause):
            yield Claim(text, "edge", english.EDGE_CUES[edge[1].lower()])
            return
        if unknown := _UNKNOWN.search(clause):
            yield Claim(text, unknown[1].lower(), None)
        words = _words(clause)
        believed = any(word.lower() in english.BELIEF_CUES for word in words)
        for word in words:
            if word in lexicon.SPOTS:
                yield Claim(text, "belief" if believed else "spot", word)
            elif word in lexicon.KIND_OF:
                yield Claim(text, lexicon.KIND_OF[word], word)

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

    left_at = staticmethod(left_at)
    accepted = staticmethod(accepted)
    alternatives = staticmethod(alternatives)
    retold = staticmethod(counterfactual)

    def told(self, prefix: str, continuation: str) -> dict[str, str]:
        """The first value of each kind that a continuation of a story states.

        Args:
            prefix: the story so far; a sentence that it left unfinished is finished by the continuation.
            continuation: what follows, for example sampled from the target.
        """
        cut = max((prefix.rfind(mark) for mark in _END), default=-1) + 1
        found: dict[str, str] = {}
        offset = len(prefix) - cut
        for sentence in re.finditer(r"[^.!?]+", prefix[cut:] + continuation):
            believed = any(word in english.BELIEF_CUES for word in sentence[0].lower().split())
            for word in re.finditer(r"[\w'-]+", sentence[0]):
                if sentence.start() + word.start() < offset:
                    continue
                if word[0] in lexicon.SPOTS:
                    found.setdefault("belief" if believed else "spot", word[0])
                elif word[0] in lexicon.KIND_OF:
                    found.setdefault(lexicon.KIND_OF[word[0]], word[0])
        return found

    def in_context(self, claim: Claim, row: Row) -> bool:
        """Whether the claim is about a fact whose value is not among the last 8 tokens."""
        if claim.kind not in lexicon.KINDS or claim.value is None:
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
    found = {}
    if "weather" in known:
        found["gear"] = lexicon.gear_for(known["weather"])
    if "mood" in known and "want" in known:
        found["plan"] = lexicon.plan_for(known["mood"], known["want"])
    return found | (plant.values(known) if plant is not None else {})
