"""Chats with the target itself: it answers templated questions, in its own chat template, over one to three turns.

The replies are the model's own words, right or wrong; one that grew too long breaks off. Chats are written in chunks of
`CHUNK`, each turn of a chunk together, so that a stopped run resumes after its last whole chunk.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legible.corpora.questions import Chat, chats
from legible.corpora.taggers import Tagger
from legible.corpora.writing import Origin, about, about_file, corpus_identity, tagged
from legible.documents import Document, read_corpus
from legible.engines.continuations import continue_prompts
from legible.errors import UsageError
from legible.fileio import fault_point, whole_chunks, write_json
from legible.identity import claim, finish
from legible.labels import Label, Mark
from legible.models.chats import chat_text
from legible.models.target import Target

CHUNK = 64
TEMPERATURE = 0.7
CHATS = Origin(
    "replies of the target itself to templated questions of this project",
    "the target's own for its replies, Apache-2.0 for the questions",
    "generated text; the target is named under `target`",
)


@dataclass(frozen=True)
class ChatConfig:
    """How many chats, how long their replies at most, and the seed of questions and draws."""

    count: int = 2000
    reply_tokens: int = 96
    seed: int = 0


def write_chats(
    out: Path,
    target: Target,
    config: ChatConfig,
    tagger: Tagger | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write a corpus of chats; run again, it resumes.

    Args:
        out: a `.jsonl` file, new or of the same target and configuration.
        target: a model with a chat template.
        config: how much.
        tagger: finds names and tenses in the English ones.
        progress: called with (chats written, chats).

    Returns:
        What `F.about.json` says; see `legible.corpora.writing.about`. Overlap counts in the replies alone.

    Raises:
        UsageError: the target has no chat template, or `out` holds something else.
    """
    if not target.tokenizer.chat_template:
        raise UsageError(
            f"{target.name} has no chat template, so it cannot hold a chat.\n"
            "  Choose a model that was made for chat, or another corpus: legible corpus --help"
        )
    parts = {"texts": "chat", "target": target.sha256(), "temperature": TEMPERATURE, **vars(config)}
    identity = corpus_identity(parts, tagger)
    if claim(out, identity) != "finished":
        asked = chats(config.count, config.seed)
        start = whole_chunks(out, CHUNK, len(asked))
        with out.open("ab") as handle:
            for first in range(start, len(asked), CHUNK):
                part = asked[first : first + CHUNK]
                talked = enumerate(zip(part, _talk(target, part, first, config), strict=True), start=first)
                documents = [_document(target, config.seed, n, chat, turns) for n, (chat, turns) in talked]
                lines = (json.dumps(one.as_line(), ensure_ascii=False) + "\n" for one in tagged(documents, tagger))
                handle.write("".join(lines).encode())
                handle.flush()
                fault_point("chat")
                if progress is not None:
                    progress(min(first + CHUNK, len(asked)), len(asked))
        write_json(about_file(out), {**about(read_corpus(out), CHATS, replies), "target": target.name})
        finish(out, identity)
    written: dict[str, Any] = json.loads(about_file(out).read_text(encoding="utf-8"))
    return written


def replies(text: str) -> str:
    """What the assistant says in a rendered chat; all of it where no turns are known."""
    turns = re.findall(
        r"(?:<\|im_start\|>assistant|<start_of_turn>model)\n(.*?)(?:<\|im_end\|>|<end_of_turn>|$)", text, re.S
    )
    return "\n".join(turns) or text


def _talk(target: Target, part: Sequence[Chat], first: int, config: ChatConfig) -> list[list[dict[str, str]]]:
    """Every chat of a chunk as turns of user and assistant."""
    turns_of: list[list[dict[str, str]]] = [[] for _ in part]
    for turn in range(max(len(chat.turns) for chat in part)):
        going = [n for n, chat in enumerate(part) if turn < len(chat.turns)]
        for n in going:
            turns_of[n].append({"role": "user", "content": part[n].turns[turn]})
        prompts = [target.encode(chat_text(target, _turns(turns_of[n]), reply=True)).ids for n in going]
        keys = [(config.seed, first + n, turn) for n in going]
        said = continue_prompts(
            target, prompts, max_tokens=config.reply_tokens, temperature=TEMPERATURE, keys=keys, stop_ids=target.end_ids
        )
        for n, row in zip(going, said, strict=True):
            text = str(target.tokenizer.decode(row.ids, skip_special_tokens=True)).strip()
            turns_of[n].append({"role": "assistant", "content": text, "stop": row.stop})
    return turns_of


def _turns(said: Sequence[dict[str, str]]) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in said]


def _document(target: Target, seed: int, number: int, chat: Chat, turns: Sequence[dict[str, str]]) -> Document:
    text, last = chat_text(target, _turns(turns)), turns[-1]
    if (
        last["stop"] == "length" and last["content"] in text
    ):  # the reply broke off: no end that the target did not write
        text = text[: text.rindex(last["content"]) + len(last["content"])]
    return Document(f"chat-{seed}-{number:05d}", text, labels=labels(chat, text))


def labels(chat: Chat, text: str) -> dict[str, Label]:
    """What is known of a rendered chat: that it is one; its language from the user's first word on, for the template
    may speak another; topic and sentiment from the end of the user's first words on."""
    first = max(text.find(chat.turns[0]), 0)
    asked = first + len(chat.turns[0])
    known = {"kind": Mark("chat"), "language": Mark(chat.language, first), "topic": Mark(chat.topic, asked)}
    if chat.sentiment is not None:
        known["sentiment"] = Mark(chat.sentiment, asked)
    return {kind: Label((mark,)) for kind, mark in known.items()}
