"""Patchscopes: the target goes on from a few-shot prompt whose last token's stream is the vector.

The prompt repeats words (`cat -> cat`) and ends in a placeholder. After block K the placeholder's stream is replaced by
the vector, the remaining blocks run, and the target writes on. What it writes is what it makes of the vector in
that place. At the last layer no block is left to read the vector, so only the first token comes from it.

Source: Ghandeharioun et al., "Patchscopes" (arXiv 2401.06102); the prompt is their token identity prompt.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from legible.instruments.base import Instrument, Offer, Said, claims_in
from legible.instruments.writing import PLACE, as_chat, placed_prompt, written_after
from legible.languages.base import Language, Row
from legible.models.arch import check_layer
from legible.models.target import Target

IDENTITY = f"cat -> cat\n1135 -> 1135\nhello -> hello\n{PLACE}"
REQUEST = "Repeat each word after its arrow."  # only chat models are asked
MAX_TOKENS = 12


class Patchscopes(Instrument):
    """What the target writes when the vector stands where its prompt ends.

    Args:
        target: the model.
        layer: the layer K of the vectors.
        at: the block whose output is replaced; absent: K itself.
        prompt: holds `PLACE` once, usually at its end.
        max_tokens: most tokens written; the first line counts.
        language: reads claims in what is written; None: there are none.

    Raises:
        UsageError: a layer out of range.
        InjectionError: a prompt without its place.
    """

    name = "patchscopes"

    def __init__(
        self,
        target: Target,
        layer: int,
        *,
        at: int | None = None,
        prompt: str = IDENTITY,
        max_tokens: int = MAX_TOKENS,
        language: Language | None = None,
    ) -> None:
        for block in (layer, layer if at is None else at):
            check_layer(block, target.n_layers)
        self.target = target
        self.layer = layer
        self.at = layer if at is None else at
        self.max_tokens = max_tokens
        self.language = language
        self.prompt = placed_prompt(target.tokenizer, as_chat(target.tokenizer, REQUEST, prompt) or prompt, "?")

    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """The first line that was written, its arrow left out."""
        written = written_after(self.target, self.prompt, vectors, block=self.at, max_tokens=self.max_tokens)
        texts = [_first_line(text.strip().removeprefix("->")) for text in written]
        return [Said(text, claims_in(self.language, text), text) for text in texts]


def _first_line(text: str) -> str | None:
    return text.strip().partition("\n")[0].strip() or None


OFFER = Offer(
    Patchscopes.name,
    "what the target writes when the activation ends its token identity prompt",
    "rival",
    "that the target says it untrained when the activation is patched into another prompt (Patchscopes)",
    lambda setting: Patchscopes(setting.target, setting.layer, language=setting.language),
)
