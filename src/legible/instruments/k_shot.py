"""k-shot verbalization: the untrained target writes an explanation of the text after a few examples of the teacher.

A black box: it sees the text and no activation. The examples are rows of other documents, each with what the language's
teacher writes of it. Base models go on with the pattern; chat models are shown each example as a turn and its reply.
What is written, greedily, is read by the language's parser.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float
from torch import Tensor

from legible.engines.continuations import AT_ONCE, continue_prompts
from legible.engines.endings import ids_until
from legible.engines.sampling import numbered
from legible.errors import UsageError
from legible.instruments.base import (
    Instrument,
    Needs,
    Offer,
    Rows,
    Said,
    Setting,
    check_rows,
    check_width,
    claims_in,
    lacking,
)
from legible.languages.base import Language, Row
from legible.models.arch import check_layer
from legible.models.chats import chat_text
from legible.models.target import Target

K = 4
MAX_TOKENS = 64
EXAMPLES = 0.6  # of the room, at most
TRIED = 64  # rows that are looked at for examples
TEXT, ANSWER = "Text:", "\nDescription:"


class KShot(Instrument):
    """What the target writes about a text when it is shown how a teacher writes about others.

    Args:
        target, layer: whose activations the others read.
        language: the teacher's and the parser's.
        others: rows of other documents, with their facts.
        k: most examples; fewer where they do not fit the context.
        max_tokens: most tokens written.
        seed: which examples.

    Raises:
        UsageError: a layer out of range, or no example that fits.
    """

    name = "k-shot"

    def __init__(
        self,
        target: Target,
        layer: int,
        language: Language,
        others: Rows,
        *,
        k: int = K,
        max_tokens: int = MAX_TOKENS,
        seed: int = 0,
    ) -> None:
        check_layer(layer, target.n_layers)
        self.target, self.layer, self.language = target, layer, language
        self.max_tokens = max_tokens
        self.examples = self._chosen(others, k, seed)

    @property
    def needs(self) -> Needs:
        """The examples; nothing is trained."""
        return Needs(len(self.examples), len({row.document.doc_id for row, _ in self.examples}))

    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """The first paragraph that is written behind the text, and the claims in it.

        A text that does not fit the target's context with the examples loses its beginning.

        Raises:
            UsageError: no rows.
        """
        check_width(self.target, vectors)
        check_rows(self.name, vectors, rows)
        prompts = [self._prompt(ids_until(self.target, row)) for row in rows]
        order = sorted(range(len(rows)), key=lambda place: len(prompts[place]))
        said: list[Said | None] = [None] * len(rows)
        for start in range(0, len(order), AT_ONCE):
            part = order[start : start + AT_ONCE]
            written = continue_prompts(
                self.target, [prompts[place] for place in part], max_tokens=self.max_tokens, temperature=0.0,
                keys=numbered(0, len(part)), stop_ids=self.target.end_ids,
            )  # fmt: skip
            for place, one in zip(part, written, strict=True):
                text = _first(str(self.target.tokenizer.decode(one.ids, skip_special_tokens=True)))
                said[place] = Said(text, claims_in(self.language, text), text)
        return [one for one in said if one is not None]

    def _chosen(self, others: Rows, k: int, seed: int) -> list[tuple[Row, str]]:
        """Rows of different documents with the teacher's text, as many as fit, drawn by seed."""
        drawn = np.random.default_rng([seed, 10]).permutation(len(others))[:TRIED].tolist()
        most = EXAMPLES * (self.target.context - self.max_tokens)
        found: list[tuple[Row, str]] = []
        for row in (others.rows[place] for place in drawn):
            claims = self.language.taught(row)
            text = self.language.write(claims, row, seed) if claims else ""
            new = row.document.doc_id not in {one.document.doc_id for one, _ in found}
            if text and new and len(self._ids([*found, (row, text)], "")) <= most:
                found.append((row, text))
            if len(found) == k:
                break
        if not found:
            raise UsageError(
                f"none of {len(drawn)} rows of other documents serves as an example: the teacher knows nothing of "
                f"them, or they do not fit the context of {self.target.name}, {self.target.context} tokens.\n"
                "  Give rows of shorter texts."
            )
        return found

    def _prompt(self, ids: Sequence[int]) -> list[int]:
        """The examples, then the text of these ids, its beginning left out where it does not fit."""
        room = self.target.context - self.max_tokens - self._overhead
        decode = lambda part: str(self.target.tokenizer.decode(part, skip_special_tokens=True))
        while len(found := self._ids(self.examples, decode(list(ids[-room:])))) + self.max_tokens > self.target.context:
            over = len(found) + self.max_tokens - self.target.context  # ids decoded and encoded again may be more
            room = max(1, room - over)
        return found

    @cached_property
    def _overhead(self) -> int:
        return len(self._ids(self.examples, ""))

    def _ids(self, examples: Sequence[tuple[Row, str]], text: str) -> list[int]:
        if not self.target.tokenizer.chat_template:
            shots = [f"{TEXT} {row.prefix}{ANSWER} {said}" for row, said in examples]
            return self.target.encode("\n\n".join([*shots, f"{TEXT} {text}{ANSWER}"])).ids
        turns = [
            turn for row, said in examples for turn in (("user", f"{TEXT} {self._plain(row)}"), ("assistant", said))
        ]
        return self.target.encode(chat_text(self.target, [*turns, ("user", f"{TEXT} {text}")], reply=True)).ids

    def _plain(self, row: Row) -> str:
        """The text up to the token without the special tokens that a chat's markup is made of."""
        return str(self.target.tokenizer.decode(ids_until(self.target, row), skip_special_tokens=True))


def _first(written: str) -> str | None:
    """The first paragraph on one line, what begins another example left out."""
    return " ".join(written.strip().partition("\n\n")[0].partition(TEXT)[0].split()) or None


def _made(setting: Setting) -> KShot:
    if setting.language is None or setting.others is None or not len(setting.others.facts):
        how = "Name a pair's checkpoint and a store of its target's activations: --weights STORE"
        raise lacking(KShot.name, "a language, and rows of other documents that it knows", how)
    return KShot(setting.target, setting.layer, setting.language, setting.others, seed=setting.seed)


OFFER = Offer(
    KShot.name,
    f"what the untrained target writes about its text after {K} examples of the teacher; it sees no activation",
    "rival",
    "that the untrained target, shown a few examples, describes its text as well: no activation is needed",
    _made,
    alone=False,
)
