"""The demonstration on a chat model: it answers a question, and a shipped pair reads it before and while it does.

Which tokens are read follows from a rule: the prompt's last one, behind which the reply begins, then some at equal
steps in the reply. What the pair says the model is about to say is compared with what it then says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from legible.documents import Document
from legible.engines.continuations import continue_text, texts_behind
from legible.languages.base import ENDED, Language, judge
from legible.models.chats import chat_text
from legible.models.target import Encoded, Target
from legible.reading.reader import Reader, Reading
from legible.reading.rows import rows_of

QUESTION = "What is the capital of France?"
REPLY = 48  # tokens at most
AHEAD = 16  # tokens behind a read one that are compared: as many as "about to" means in the captures
LATER = 4  # tokens of the reply that are read


@dataclass(frozen=True)
class Moment:
    """A reading, and what the model said next, up to `AHEAD` tokens; `begins` where the reply begins there."""

    reading: Reading
    said: str
    begins: bool


@dataclass(frozen=True)
class ChatDemonstration:
    """A question, the model's reply (`finished`: it ended by itself), and what was read on the way."""

    question: str
    text: str
    reply: str
    finished: bool
    moments: list[Moment]
    about: dict[str, Any]


def demonstrate_chat(reader: Reader, question: str = QUESTION) -> ChatDemonstration:
    """Let the target answer, then read it.

    Raises:
        UsageError: a target without a chat template, or a question that its context has no room for.
    """
    target = reader.checkpoint.target
    prompt = chat_text(target, [("user", question)], reply=True)
    reply, finished = answered(target, prompt)
    text = prompt + reply
    encoded = target.encode(text)
    chosen = moments(encoded, len(prompt))
    document = Document("", text)
    readings = reader.read(document, positions=",".join(map(str, chosen)))
    said = [_said(text, encoded, pos) for pos in chosen]
    ended = [finished and text.endswith(part) for part in said]
    if reader.checkpoint.language is not None:
        futures = [part + (ENDED if end else "") for part, end in zip(said, ended, strict=True)]
        readings = compared(reader.checkpoint.language, document, encoded, readings, futures)
    found = [
        Moment(reading, part, encoded.offsets[reading.pos][1] <= len(prompt))
        for reading, part in zip(readings, said, strict=True)
    ]
    return ChatDemonstration(question, text, reply, finished, found, reader.about())


def answered(target: Target, prompt: str) -> tuple[str, bool]:
    """The target's likeliest reply, and whether it ended by itself."""
    ids = target.encode(prompt).ids
    [written] = continue_text(target, ids, samples=1, max_tokens=REPLY, temperature=0.0, stop_ids=target.end_ids)
    return texts_behind(target, ids, [written])[0], len(written) < REPLY


def moments(encoded: Encoded, prompt: int) -> list[int]:
    """Which tokens are read: the last of the prompt's `prompt` characters, and `LATER` at equal steps behind it."""
    ends = [end for _, end in encoded.offsets]
    last = max(pos for pos, end in enumerate(ends) if end <= prompt)
    step = max(1, (len(ends) - 1 - last) // (LATER + 1))
    return [last, *range(last + step, len(ends) - 1, step)][: LATER + 1]


def compared(
    language: Language, document: Document, encoded: Encoded, readings: Sequence[Reading], futures: Sequence[str]
) -> list[Reading]:
    """The readings with verdicts on what they say is ahead, by what the target really said.

    Args:
        futures: what it said behind each reading's token, `ENDED` where it ended.
    """
    rows = {row.pos: row for row in rows_of(document, encoded.ids, encoded.offsets)}
    found = []
    for reading, future in zip(readings, futures, strict=True):
        facts = language.facts(replace(rows[reading.pos], continuations=(future,)))
        claims = tuple(
            replace(claim, verdict=judge(claim, facts)) if claim.family == "ahead" else claim
            for claim in reading.claims
        )
        found.append(replace(reading, claims=claims))
    return found


def _said(text: str, encoded: Encoded, pos: int) -> str:
    """The text of the `AHEAD` tokens behind one."""
    last = min(pos + AHEAD, len(encoded.ids) - 1)
    return text[encoded.offsets[pos][1] : encoded.offsets[last][1]]
