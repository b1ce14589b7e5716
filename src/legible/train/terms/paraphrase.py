"""Other words for an explanation: a reconstructor that reads several wordings of a claim cannot live on one of them.

An explanation is parsed and written again from its claims, in the language's training wordings with another draw, and
in another order of sentences and clauses. Wordings that are held out for tests are never used.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from legible.data.store import Store
from legible.errors import UsageError
from legible.languages.base import ClaimKey, Language, Row
from legible.train.loop import generator


def rewrite(text: str, language: Language, row: Row, seed: int) -> str | None:
    """The claims of an explanation in other words of its language; what the parser could not place is dropped.

    Args:
        text: an explanation of `row`.
        language: parses and writes it.
        row: where it stands; with `seed` it decides the draw.
        seed: another one gives other words.

    Returns:
        The new text; None where the language cannot state exactly these claims again (no claim at all, or two
        values of a kind that has one, or a denial).
    """
    said = {claim.key: claim for claim in reversed(language.parse(text).claims)}
    try:
        written = language.write(list(said.values())[::-1], row, seed) if said else ""
    except ValueError:
        return None
    if not said or _stated(written, language) != said.keys():
        return None
    shuffled = reordered(written, random.Random(f"order {seed} {row.document.doc_id} {row.pos}"))
    return shuffled if _stated(shuffled, language) == said.keys() else written


def check_rewording(share: float, language: Language | None, option: str) -> None:
    """Refuse to reword a text without a language.

    Raises:
        UsageError: a share above 0 and nothing that writes claims in other words.
    """
    if share > 0 and language is None:
        raise UsageError(
            f"{option} needs a language that writes claims in other words, and this text has none.\n"
            "  Teach with world or text, or leave it at 0."
        )


@dataclass(frozen=True)
class Rewording:
    """A warm start's texts in other words, drawn anew every epoch; a function of (seed, epoch, example) alone.

    share: of the texts; language: writes them; store: where their rows stand; tokenizer and encode: of the reader.
    """

    share: float
    language: Language
    store: Store
    tokenizer: PreTrainedTokenizerBase
    encode: Callable[[list[str]], list[list[int]]]
    seed: int

    def __call__(
        self, epoch: int, examples: Sequence[int], rows: Sequence[int], ids: Sequence[list[int]]
    ) -> list[list[int]]:
        """The token ids of some examples, a share of them reworded; a text that cannot be keeps its words."""
        reworded = list(ids)
        texts: dict[int, str] = {}
        for place, (example, row) in enumerate(zip(examples, rows, strict=True)):
            draws = generator(self.seed, f"rewording {epoch}", example)
            if torch.rand((), generator=draws) >= self.share:
                continue
            text = str(self.tokenizer.decode(reworded[place], skip_special_tokens=True))
            seed = int(torch.randint(2**31, (), generator=draws))
            other = rewrite(text, self.language, self.store.row(row), seed)
            if other is not None:
                texts[place] = other
        encoded = self.encode(list(texts.values())) if texts else []  # tokenizers refuse an empty batch
        for place, again in zip(texts, encoded, strict=True):
            reworded[place] = again
        return reworded


def _stated(text: str, language: Language) -> set[ClaimKey]:
    return {claim.key for claim in language.parse(text).claims}


def reordered(text: str, rng: random.Random) -> str:
    """Sentences in another order, and in each the clauses after the first, which holds the subject.

    A text without commas between clauses keeps its sentences whole.
    """
    sentences = re.split(r"(?<=[.!?])\s+", text.strip())
    return " ".join(_shuffled_clauses(sentence, rng) for sentence in rng.sample(sentences, len(sentences)))


def _shuffled_clauses(sentence: str, rng: random.Random) -> str:
    body = sentence.rstrip(".!?")
    head, *rest = body.split(", ")
    return ", ".join([head, *rng.sample(rest, len(rest))]) + sentence[len(body) :]
