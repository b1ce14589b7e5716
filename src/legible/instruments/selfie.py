"""SelfIE: the target is asked what a message says, and the message is the vector.

Placeholder tokens of an interpretation prompt are replaced by the vector, after an early block (as it is) or as
embeddings (at the usual length of one), and the target answers in its own words. Models that follow instructions give
descriptions; a small base model mostly continues the kind of text it was trained on.

Source: Chen et al., "SelfIE" (arXiv 2403.10949); their code, too, replaces the stream after an early block.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from legible.instruments.base import Instrument, Offer, Said, claims_in
from legible.instruments.writing import PLACE, as_chat, placed_prompt, written_after
from legible.languages.base import Language, Row
from legible.models.arch import check_layer
from legible.models.target import Target

REQUEST = f"Message: {PLACE}\nWhat does the message say?"
ANSWER = "The message says that"
COPIES = 5
MAX_TOKENS = 32


class SelfIE(Instrument):
    """What the target says about the vector.

    Args:
        target: the model.
        layer: the layer K of the vectors.
        after: the block whose output is replaced; -1 replaces embeddings; absent: block 1, or 0 where there is one.
        request: what is asked; holds `PLACE` once.
        answer: how the answer begins; only what follows is returned.
        copies: tokens that the vector replaces.
        max_tokens: most tokens written.
        language: reads claims in what is written; None: there are none.

    Raises:
        UsageError: a layer out of range.
        InjectionError: a request without its place.
    """

    name = "selfie"

    def __init__(
        self,
        target: Target,
        layer: int,
        *,
        after: int | None = None,
        request: str = REQUEST,
        answer: str = ANSWER,
        copies: int = COPIES,
        max_tokens: int = MAX_TOKENS,
        language: Language | None = None,
    ) -> None:
        check_layer(layer, target.n_layers)
        block = min(1, target.n_layers - 1) if after is None else after
        if block != -1:
            check_layer(block, target.n_layers)
        self.target = target
        self.layer = layer
        self.block = None if block == -1 else block
        self.max_tokens = max_tokens
        self.language = language
        text = as_chat(target.tokenizer, request, answer) or f"{request}\n{answer}"
        self.prompt = placed_prompt(target.tokenizer, text, "_", copies)

    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """The answer on one line, its given beginning left out."""
        written = written_after(self.target, self.prompt, vectors, block=self.block, max_tokens=self.max_tokens)
        texts = [" ".join(text.split()) or None for text in written]
        return [Said(text, claims_in(self.language, text), text) for text in texts]


OFFER = Offer(
    SelfIE.name,
    "what the target answers when it is asked what the activation says",
    "rival",
    "that the target says it untrained when it is asked what the activation says (SelfIE)",
    lambda setting: SelfIE(setting.target, setting.layer, language=setting.language),
)
