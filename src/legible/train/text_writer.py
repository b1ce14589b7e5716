"""The text-only writer: the verbalizer's twin that reads the text so far in place of the activation.

It starts from the same weights, trains the same parameters and sees the same teacher rows in the same batches for the
same number of steps; the loss is on the explanation alone. What it reaches needs no activation, only the text.
A prefix that does not fit the context beside the longest explanation keeps its last tokens, and is counted.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import DynamicCache

from legible.config import SFTConfig
from legible.data.batches import pad
from legible.data.store import Store
from legible.documents import Document
from legible.engines.cached import extend
from legible.engines.decode import Policy, decode
from legible.engines.direct import fastest_stepper
from legible.errors import UsageError
from legible.fileio import write_directory, write_json
from legible.languages.base import Row
from legible.models.placement import trained_at
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.prompts import parse_explanation, plain_verbalizer_prompt
from legible.teachers.base import taught_texts
from legible.train.examples import BatchOrder, TokenTable, check_rows
from legible.train.loop import Metrics, run_role
from legible.train.optim import RoleOptimizer
from legible.train.sft import injection_of, new_verbalizer

ABOUT = "writer.json"
DOCUMENTS = 8192  # tokenized texts kept in memory


@dataclass(frozen=True)
class WriterRecord:
    """What a writer was trained on, saved beside its weights."""

    steps: int
    rows: int  # taught rows it learns from
    cut: int  # of these, prefixes cut to their last `kept` tokens
    kept: int  # most tokens of a prefix
    parameters: int
    skipped: int  # optimizer steps with non-finite gradients


class TextWriter(nn.Module):
    """A causal LM that reads the last tokens of a text and a start token, and writes an explanation.

    The verbalizer inside lends its model, its stop and banned tokens; nothing is injected into it.
    """

    def __init__(self, verbalizer: Verbalizer, target: Target, kept: int) -> None:
        """Take a verbalizer with our plain prompt, the target whose texts are read, and the longest prefix in tokens.

        Raises:
            UsageError: no room for a prefix.
        """
        super().__init__()
        if kept < 1:
            raise UsageError(
                f"the context of {target.name}, {target.context} tokens, has no room for text beside an explanation.\n"
                "  Lower sft.max_explanation_tokens."
            )
        self.verbalizer = verbalizer
        self.kept = kept
        self._target = [target]  # in a list: its frozen weights are no part of this module
        self._ids = lru_cache(maxsize=DOCUMENTS)(self._document_ids)

    @classmethod
    def load(cls, folder: Path, target: Target, config: SFTConfig) -> "TextWriter":
        """Read what `train_text_writer` left in `folder`.

        Raises:
            UsageError: no finished writer there.
        """
        record = read_record(folder)
        prompt = plain_verbalizer_prompt(target.tokenizer)
        given = {"target": target, "blocks": config.verbalizer_blocks, "place": trained_at(target.model)}
        verbalizer = Verbalizer.load(folder / "writer", prompt, injection_of(config), **given)  # type: ignore[arg-type]
        return cls(verbalizer, target, record.kept)

    def prefix(self, row: Row) -> tuple[list[int], bool]:
        """Tokens of the text up to and including the read one, at most `kept`, and whether some were cut off."""
        ids = self._ids(row.document)[: row.pos + 1]
        return ids[-self.kept :].tolist(), len(ids) > self.kept

    def logprobs(self, prefixes: Sequence[list[int]], completions: Sequence[list[int]]) -> Float[Tensor, "b l"]:
        """log p of each completion token, the stop token included; 0 where padded. Gradients flow.

        Args:
            prefixes: tokens of each text, not empty.
            completions: what is written of each, right-padded in the result.
        """
        verbalizer = self.verbalizer
        device = verbalizer.device
        ids, mask = (part.to(device) for part in pad(completions))
        before = [[*prefix, *verbalizer.prompt.suffix_ids] for prefix in prefixes]
        text, seen = (part.flip(1).to(device) for part in pad([row[::-1] for row in before]))  # padded on the left
        whole = torch.cat([seen, mask[:, :-1]], 1)  # the last token predicts nothing
        out = verbalizer.model(
            input_ids=torch.cat([text, ids[:, :-1]], 1),
            attention_mask=whole,
            position_ids=(whole.cumsum(1) - 1).clamp_min(0),
            use_cache=False,
            logits_to_keep=ids.shape[1],
        )
        return verbalizer.logprobs_of(verbalizer.allowed(out.logits), ids, mask)

    @torch.no_grad()
    def write(self, rows: Sequence[Row], *, max_tokens: int) -> list[tuple[str | None, int]]:
        """The greedy explanation of every row and its length in tokens; None is a failed parse."""
        prefixes = [self.prefix(row)[0] for row in rows]
        lengths: dict[int, list[int]] = {}
        for index, prefix in enumerate(prefixes):
            lengths.setdefault(len(prefix), []).append(index)
        written: list[tuple[str | None, int]] = [(None, 0)] * len(rows)
        for length, same in lengths.items():
            used = length + len(self.verbalizer.prompt.suffix_ids)
            room = min(max_tokens, self._target[0].context - used + 1)  # the last token written is not read
            for index, explanation in zip(same, self._decode([prefixes[i] for i in same], room), strict=True):
                written[index] = explanation
        return written

    def _decode(self, prefixes: list[list[int]], max_tokens: int) -> list[tuple[str | None, int]]:
        """Greedy explanations of prefixes of one length."""
        verbalizer = self.verbalizer
        prompt = verbalizer.prompt
        ids = torch.tensor([[*prefix, *prompt.suffix_ids] for prefix in prefixes], device=verbalizer.device)
        cache = DynamicCache()
        logits = extend(verbalizer.model, cache, ids=ids)
        stepper = fastest_stepper(verbalizer.model, cache, torch.arange(len(ids), device=ids.device), max_tokens)
        policy = Policy(0.0, max_tokens, prompt.stop_ids, prompt.banned_ids, verbalizer.outputs)
        decoded = decode(stepper, logits, policy, None)
        texts = [str(verbalizer.tokenizer.decode(row.ids, skip_special_tokens=True)) for row in decoded]
        return [
            (parse_explanation(text, prompt.tags, stopped=row.stop == "stop"), len(row.ids))
            for text, row in zip(texts, decoded, strict=True)
        ]

    def _document_ids(self, document: Document) -> NDArray[np.int32]:
        return np.array(self._target[0].encode(document.text).ids, np.int32)


class WriterTraining:
    """The writer, its optimizer and its examples; `step` is all that one step does.

    A step reads the rows that the verbalizer's same step reads, in pieces of similar length whose gradients add up.
    """

    def __init__(self, config: SFTConfig, target: Target, layer: int, store: Store, teach_file: Path) -> None:
        """Prepare the training; proves first that the stop token can be emitted.

        Raises:
            UsageError: no taught rows, or no room for a text.
        """
        verbalizer = new_verbalizer(config, target, teach_file)
        verbalizer.check_stop_token()
        limit = config.max_explanation_tokens + 1  # and the stop token
        encode = lambda texts: verbalizer.completion_ids(texts, limit)
        self.table = TokenTable.build(taught_texts(teach_file), encode)
        check_rows(self.table, store, teach_file)
        longest = int(self.table.lengths.max())
        suffix = len(verbalizer.prompt.suffix_ids)
        self.writer = TextWriter(verbalizer, target, target.context - suffix - longest + 1)
        self.optimizer = RoleOptimizer(self.writer, config.verbalizer, config.steps)
        self.order = BatchOrder(self.table.lengths + len(verbalizer.prompt.ids), config.batch_tokens, config.seed)
        self._store, self._batch_tokens = store, config.batch_tokens

    def step(self, index: int) -> Metrics:
        """One optimizer step; the loss is in nats per token of the explanation, the stop token counted."""
        batch = self.order(index)
        tokens = int(self.table.lengths[batch].sum())
        total = 0.0
        for prefixes, completions in self._pieces(batch):
            loss = -self.writer.logprobs(prefixes, completions).sum() / tokens
            loss.backward()
            total += loss.item()
        norm = self.optimizer.step(index)
        return {"loss": total, "grad_norm": norm, "rows": len(batch), "skipped": self.optimizer.skipped}

    def cut(self) -> int:
        """Taught rows whose prefix is cut."""
        return int((self._store.pos[self.table.rows] + 1 > self.writer.kept).sum())

    def _pieces(self, batch: Sequence[int]) -> list[tuple[list[list[int]], list[list[int]]]]:
        """(prefixes, completions) of a batch in pieces of at most `batch_tokens` padded tokens."""
        read = {i: self.writer.prefix(self._store.row(int(self.table.rows[i])))[0] for i in batch}
        pieces: list[list[int]] = []
        for i in sorted(batch, key=lambda i: (-len(read[i]), i)):
            if not pieces or (len(pieces[-1]) + 1) * self._size(pieces[-1], i, read) > self._batch_tokens:
                pieces.append([])
            pieces[-1].append(i)
        return [([read[i] for i in piece], [self.table[i] for i in piece]) for piece in pieces]

    def _size(self, piece: Sequence[int], more: int, read: dict[int, list[int]]) -> int:
        """Padded length of a piece with one more row; the first row has the longest prefix."""
        return len(read[piece[0]]) + int(self.table.lengths[[*piece, more]].max())


def train_text_writer(
    config: SFTConfig, target: Target, layer: int, store: Store, teach_file: Path, out: Path, *, made_by: str
) -> WriterRecord:
    """Train the writer of a warm start; unfinished work in `out` resumes from its last state, which stays there.

    Args:
        config: the warm start's own; `steps` may be changed.
        target, layer: what the pair reads; the writer starts from the target's weights.
        store, teach_file: the warm start's rows and the teacher's text for them.
        out: gets `writer/`, `writer.json` and `metrics.jsonl`; its caller has claimed it.
        made_by: digest of all of these; a state is resumed only under the same one.

    Raises:
        UsageError: no taught rows.
        TrainingError: only non-finite gradients, or a full disk.
    """
    training = WriterTraining(config, target, layer, store, teach_file)
    role = (training.writer, training.optimizer, training.step)
    run_role("writer", "text-only writer", config, out, made_by, *role)
    write_directory(out / "writer", training.writer.verbalizer.save)
    record = WriterRecord(
        steps=config.steps,
        rows=len(training.table),
        cut=training.cut(),
        kept=training.writer.kept,
        parameters=sum(parameter.numel() for parameter in training.writer.parameters()),
        skipped=training.optimizer.skipped,
    )
    write_json(out / ABOUT, asdict(record))
    return record


def read_record(folder: Path) -> WriterRecord:
    """What `train_text_writer` wrote beside the weights.

    Raises:
        UsageError: no finished writer in `folder`.
    """
    path = folder / ABOUT
    if not path.is_file():
        raise UsageError(f"no finished text-only writer in {folder}.\n  legible evaluate CHECKPOINT --full trains one.")
    return WriterRecord(**json.loads(path.read_text(encoding="utf-8")))
