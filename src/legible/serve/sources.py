"""Sources: the loaded checkpoints as a client sees them, and prompts as their targets read them.

A source is known by the id it got at start. Its stored reports are read once, then, from fixed names beside the
checkpoint; no request names a file.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legible.models.chats import rendered
from legible.models.target import Encoded
from legible.reading.reader import Reader
from legible.serve.work import Frame, RequestError

_REPORT_BYTES = 8_000_000


@dataclass(frozen=True)
class Prompt:
    """A text as the target reads it. `template`: positions that a chat template wrote, not a person or a model."""

    text: str
    encoded: Encoded
    template: frozenset[int] = frozenset()


class Source:
    """One loaded checkpoint."""

    def __init__(self, id_: str, reader: Reader) -> None:
        self.id = id_
        self.reader = reader
        self.checkpoint = reader.checkpoint
        self.target = reader.checkpoint.target
        self.engine = reader.engine
        self.evaluation = _stored(self.checkpoint.path, "evaluation.json", "report.json")
        self.truth = _stored(self.checkpoint.path, "truth.json", "truth.json")

    @property
    def chat(self) -> bool:
        """Whether the target has a chat template."""
        return bool(self.target.tokenizer.chat_template)

    @property
    def calibrated(self) -> bool:
        """Whether claims get a probability of being true."""
        return self.checkpoint.calibrator is not None

    def describe(self) -> Frame:
        """The source as `GET /api/v1/sources` lists it."""
        checkpoint, extra = self.checkpoint, self.checkpoint.contract.legible
        return {
            "id": self.id,
            "name": self.id,
            "target": self.target_name,
            "layer": checkpoint.layer,
            "n_layers": self.target.n_layers,
            "d_model": self.target.d_model,
            "context": self.target.context,
            "max_tokens": self.reader.longest,
            "variance": checkpoint.variance,
            "language": checkpoint.language.name if checkpoint.language else None,
            "reconstructor": checkpoint.reconstructor is not None,
            "calibrator": self.calibrated,
            "chat": self.chat,
            "families": "ahead" in (checkpoint.language.families.values() if checkpoint.language else ()),
            "metrics": dict(extra.metrics) if extra else {},
            "reports": [name for name, found in (("evaluation", self.evaluation), ("truth", self.truth)) if found],
        }

    @property
    def target_name(self) -> str:
        """The target's name without the folders it lies in."""
        return _plain(self.checkpoint.studied)

    def prompt(self, text: str | None, messages: Sequence[tuple[str, str]] | None, *, reply: bool = False) -> Prompt:
        """What the target reads.

        Args:
            text: a text, special tokens added as the tokenizer does; or
            messages: (role, content) turns, rendered with the target's chat template.
            reply: open the assistant's turn at the end.

        Raises:
            RequestError: no chat template, a template that refuses these turns, or an empty prompt.
            UsageError: an empty text.
        """
        if messages is None:
            return Prompt(text or "", self.target.encode(text or ""))
        text = self._rendered(messages, reply)
        out = self.target.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        encoded = Encoded(list(out["input_ids"]), [(int(a), int(b)) for a, b in out["offset_mapping"]])
        if not encoded.ids:
            raise RequestError("the messages are empty. Give at least one word.")
        return Prompt(text, encoded, _template_positions(text, encoded, [content for _, content in messages]))

    def read_prompt(self, text: str | None, messages: Sequence[tuple[str, str]] | None, *, room: int = 0) -> Prompt:
        """As `prompt`, where it fits the target's context with `room` more tokens; `room` opens the reply.

        Raises:
            RequestError: it does not fit.
        """
        prompt = self.prompt(text, messages, reply=room > 0)
        if len(prompt.encoded.ids) + room > self.target.context:
            more = f" and {room} new ones" if room else ""
            raise RequestError(
                f"the text has {len(prompt.encoded.ids)} tokens{more}; the target's context is {self.target.context}. "
                "Send a part of it: nothing is cut off silently."
            )
        return prompt

    def tokens(self, prompt: Prompt) -> list[Frame]:
        """Every token with its place in the text and whether it is a special or a template's token."""
        pieces = self.pieces(prompt.encoded.ids)
        special = set(self.target.tokenizer.all_special_ids)
        return [
            {
                "pos": pos,
                "token": prompt.text[start:end] or piece,
                "token_id": token_id,
                "start": start,
                "end": end,
                "special": token_id in special,
                "template": pos in prompt.template,
            }
            for pos, (token_id, piece, (start, end)) in enumerate(
                zip(prompt.encoded.ids, pieces, prompt.encoded.offsets, strict=True)
            )
        ]

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The tokens as the vocabulary spells them."""
        return [str(piece) for piece in self.target.tokenizer.convert_ids_to_tokens(list(ids))]

    def without_start(self, text: str) -> str:
        """A rendered prompt as a `text` that encodes to the same tokens: the start token is added again."""
        start = self.target.tokenizer.bos_token
        adds = self.target.encode("a").ids[:1] == [self.target.bos_id]
        return text.removeprefix(start) if start and adds else text

    def _rendered(self, messages: Sequence[tuple[str, str]], reply: bool) -> str:
        if not self.chat:
            raise RequestError(f"the target of {self.id} has no chat template. Send `text` instead of `messages`.")
        return rendered(self.target, messages, reply=reply)


def source_ids(names: Sequence[str]) -> list[str]:
    """One short id a checkpoint, unique, safe in addresses: the last meaningful part of its name.

    Example:
        >>> source_ids(["builtin", "runs/tiny/checkpoint", "other/tiny"])
        ['builtin', 'tiny', 'tiny-2']
    """
    found: list[str] = []
    for name in names:
        parts = [part for part in re.split(r"[\\/]+", name) if part not in ("", ".", "..")]
        if len(parts) > 1 and parts[-1] == "checkpoint":
            parts = parts[:-1]
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", parts[-1] if parts else "checkpoint").strip("-.")[:60] or "checkpoint"
        number, unique = 1, plain
        while unique in found:
            number += 1
            unique = f"{plain}-{number}"
        found.append(unique)
    return found


def _template_positions(rendered: str, encoded: Encoded, contents: Sequence[str]) -> frozenset[int]:
    """Tokens that no message holds; templates may strip a message's outer spaces."""
    spans, at = [], 0
    for content in contents:
        start = rendered.find(content.strip(), at)
        if start >= 0:
            at = start + len(content.strip())
            spans.append((start, at))
    return frozenset(
        pos
        for pos, (start, end) in enumerate(encoded.offsets)
        if not any(start < last and end > first for first, last in spans)
    )


def _plain(name: str) -> str:
    return name if name.count("/") <= 1 and not name.startswith(("/", ".")) else Path(name).name


def _stored(folder: Path, own: str, of_run: str) -> dict[str, Any] | None:
    """The checkpoint's own report, or that of its run; its configuration, which names files, is left out."""
    for path in [folder / own, *([folder.parent / of_run] if folder.name == "checkpoint" else [])]:
        if path.is_file() and path.stat().st_size <= _REPORT_BYTES:
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:  # half written or damaged: the checkpoint reads without its report
                continue
            if isinstance(found, dict):
                return {key: value for key, value in found.items() if key not in ("config", "checkpoint")}
    return None
