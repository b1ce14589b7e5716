"""The verbalizer (AV): a causal LM that reads one activation inside its prompt and writes an explanation.

Log-probabilities for training come from here; the engines sample with the same prompt, injection and banned tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from legible.config import AUTO, Placement
from legible.errors import InjectionError, UsageError
from legible.injection import Injection, add_after, replace_at, scale_vector
from legible.models.arch import Arch
from legible.models.loading import load_pretrained, load_tokenizer, quietly
from legible.models.lora import StopRowHead, merged_copy
from legible.models.placement import trainable_copy
from legible.models.target import Target
from legible.prompts import VerbalizerPrompt, plain_verbalizer_prompt

_SAME_ROW = 0.99  # cosine above which two output rows cannot be told apart by a frozen head


class Verbalizer(nn.Module):
    """A causal LM, its prompt and its injection. Dropout stays off in training too.

    With dropout the log-probabilities of a rollout and of its update would differ for no reason.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt: VerbalizerPrompt,
        injection: Injection,
    ) -> None:
        """Take a loaded model.

        Raises:
            InjectionError: `add` after a block that the model does not have.
        """
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.prompt = prompt
        self.injection = injection
        if injection.mode == "add" and injection.block >= self.arch.n_layers:
            raise InjectionError(
                f"injection after block {injection.block}, but the model has blocks 0 to {self.arch.n_layers - 1}.\n"
                "  Choose a smaller sft.injection_block."
            )
        self.banned: Tensor
        self.register_buffer(
            "banned", torch.tensor(prompt.banned_ids, dtype=torch.long, device=self.device), persistent=False
        )
        self.eval()

    @classmethod
    def from_target(cls, target: Target, injection: Injection, prompt: VerbalizerPrompt | None = None) -> "Verbalizer":
        """A trainable copy of the target, with our plain prompt unless another is given."""
        model = trainable_copy(target.model).requires_grad_(True)
        return cls(model, target.tokenizer, prompt or plain_verbalizer_prompt(target.tokenizer), injection)

    @classmethod
    def load(
        cls, path: str | Path, prompt: VerbalizerPrompt, injection: Injection, *, place: Placement = AUTO
    ) -> "Verbalizer":
        """Load a saved directory; prompt and injection come from its contract.

        Raises:
            UsageError: no model or tokenizer there, or pickle weights only.
        """
        model = load_pretrained(AutoModelForCausalLM, str(path), place=place)
        return cls(model, load_tokenizer(str(path), model), prompt, injection)

    def save(self, path: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write an ordinary causal LM directory (weights, config, tokenizer), adapters merged."""
        model = merged_copy(self.model, dtype)
        with quietly():
            model.save_pretrained(path)
        self.tokenizer.save_pretrained(path)

    @property
    def arch(self) -> Arch:
        """The model's parts."""
        return Arch.find(self.model)

    @property
    def device(self) -> torch.device:
        """Where the weights are; inputs are moved there."""
        return self.arch.device

    def train(self, mode: bool = True) -> "Verbalizer":
        """Set the flag on this module only: dropout inside the model stays off."""
        self.training = mode
        self.model.eval()
        return self

    def prompt_embeds(self, vectors: Float[Tensor, "b d_model"]) -> Float[Tensor, "b p d_model"]:
        """Embedded prompts; in replace mode the scaled vector stands at `prompt.position`."""
        ids = torch.tensor(self.prompt.ids, device=self.device)
        embeds = self.arch.embed(ids.unsqueeze(0)).expand(len(vectors), -1, -1)
        if self.injection.mode == "add":
            return embeds
        scaled = scale_vector(vectors.to(self.device), self.injection.scale)
        return replace_at(embeds, self._positions(len(vectors), self.prompt.position), scaled)

    @contextmanager
    def adding(self, vectors: Float[Tensor, "b d_model"], position: int) -> Iterator[None]:
        """In add mode, forwards inside the `with` add the vectors after the block; in replace mode nothing happens.

        Args:
            vectors: one a row of the forwards' batch.
            position: the vector's place in the tokens of these forwards: `prompt.position` for whole prompts, less
                the cached tokens where a cache holds the prefix.
        """
        if self.injection.mode == "replace":
            yield
            return
        positions = self._positions(len(vectors), position)
        vectors = vectors.to(self.device)

        def hook(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
            return add_after(output, positions, vectors)

        handle = self.arch.blocks[self.injection.block].register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def logits(
        self, vectors: Float[Tensor, "b d_model"], ids: Int[Tensor, "b l"], mask: Int[Tensor, "b l"]
    ) -> Float[Tensor, "b l vocab"]:
        """Logits, float32, that predict each completion token; banned tokens are -inf.

        Args:
            vectors: raw activations.
            ids, mask: completions with right padding, the stop token included where there is one.
        """
        ids, mask = ids.to(self.device), mask.to(self.device)
        prompt = self.prompt_embeds(vectors)
        width = prompt.shape[1]
        embeds = torch.cat([prompt, self.arch.embed(ids[:, :-1])], 1)  # the last token predicts nothing
        whole = torch.cat([mask.new_ones(len(ids), width), mask[:, :-1]], 1)
        with self.adding(vectors, self.prompt.position):
            out = self.model(
                inputs_embeds=embeds,
                attention_mask=whole,
                position_ids=torch.arange(whole.shape[1], device=self.device).expand(whole.shape),
                use_cache=False,
                logits_to_keep=ids.shape[1],
            )
        logits: Tensor = out.logits.float()
        return logits.index_fill_(-1, self.banned, float("-inf"))

    def logprobs(
        self,
        vectors: Float[Tensor, "b d_model"],
        ids: Int[Tensor, "b l"],
        mask: Int[Tensor, "b l"],
        *,
        temperature: float = 1.0,
    ) -> Float[Tensor, "b l"]:
        """log p of each completion token, the stop token included; 0 where masked. Gradients flow.

        Args:
            vectors, ids, mask: as for `logits`.
            temperature: logits are divided by it before the softmax.
        """
        logits = self.logits(vectors, ids, mask)
        if temperature != 1.0:
            logits = logits / temperature
        mask = mask.to(self.device).bool()
        wanted = torch.where(mask, ids.to(self.device), self.prompt.stop_ids[0])
        nll = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)
        return torch.where(mask, -nll, 0.0)

    def forward(
        self, vectors: Float[Tensor, "b d_model"], ids: Int[Tensor, "b l"], mask: Int[Tensor, "b l"]
    ) -> Float[Tensor, "b l"]:
        """`logprobs` at temperature 1."""
        return self.logprobs(vectors, ids, mask)

    def check_stop_token(self) -> None:
        """Prove that the stop token can be emitted, before an hour is spent on a verbalizer that cannot stop.

        A token never seen in the target's training has an output row like those of other unseen tokens; a frozen
        head then gives them all the same logit. Training that row breaks the tie.

        Raises:
            UsageError: the head is frozen and the stop token's row is another token's row.
        """
        found = self.stop_twin()
        if found is not None:
            raise UsageError(
                f"the frozen head cannot tell the stop token {self.prompt.stop_ids[0]} from token {found[0]} "
                f"(cosine {found[1]:.3f}), so explanations could not stop.\n"
                "  The usual cause is a small target that never saw its end-of-text token.\n"
                "  Fine-tune in full (`sft.adapter: null`), or call Verbalizer.train_stop_row() first."
            )

    @torch.no_grad()
    def stop_twin(self) -> tuple[int, float] | None:
        """The token that a frozen head cannot tell from the stop token, and their rows' cosine; None if all is well."""
        head = self.model.get_output_embeddings()
        if isinstance(head, StopRowHead) or head.weight.requires_grad:
            return None
        weight, stop = head.weight, self.prompt.stop_ids[0]
        cosine = F.cosine_similarity(weight.float(), weight[stop].float().unsqueeze(0), dim=-1)
        cosine[[stop, *self.prompt.banned_ids]] = -1.0
        twin = int(cosine.argmax())
        return (twin, float(cosine[twin])) if cosine[twin] > _SAME_ROW else None

    def train_stop_row(self) -> None:
        """Let the stop token's output row train although the head is frozen, in place; saving merges it."""
        head = self.model.get_output_embeddings()
        if not isinstance(head, StopRowHead):
            self.model.set_output_embeddings(StopRowHead(head, self.prompt.stop_ids[0]))

    def _positions(self, batch: int, position: int) -> Tensor:
        return torch.full((batch,), position, device=self.device)
