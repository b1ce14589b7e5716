"""The verbalizer (AV): a causal LM that reads one activation inside its prompt and writes an explanation.

Log-probabilities for training come from here; the engines sample with the same prompt, injection and banned tokens.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from legible.config import AUTO, Placement
from legible.errors import ContractError, InjectionError, UsageError
from legible.injection import Injection, add_after, replace_at, scale_vector
from legible.models.arch import Arch, sharing_copy, with_blocks
from legible.models.differences import (
    check_kept,
    head_taken_out,
    holds_differences,
    load_differences,
    needed,
    save_differences,
    save_own,
)
from legible.models.loading import load_pretrained, load_tokenizer
from legible.models.lora import ChangedHead, StopRowHead, merged_copy
from legible.models.outputs import Outputs
from legible.models.place import quietly
from legible.models.placement import trainable_copy
from legible.models.target import Target
from legible.prompts import VerbalizerPrompt, completion_ids, plain_verbalizer_prompt

MAP = ("injection_map.weight", "injection_map.bias")
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
        *,
        over: str | None = None,
        blocks: Sequence[int] | None = None,
        outputs: Outputs | None = None,
        injection_map: nn.Linear | None = None,
    ) -> None:
        """Take a loaded model.

        Args:
            model, tokenizer, prompt, injection: what it is made of.
            over: the target whose weights it shares, by name; what does not train is that target's. Absent: its
                weights are all its own.
            blocks: the target's blocks that it keeps; absent: all.
            outputs: the ids that the model's head writes; absent: the whole vocabulary.
            injection_map: what the scaled vector goes through before it enters.

        Raises:
            InjectionError: `add` after a block that the model does not have.
            ContractError: a head of another number of rows than it has output ids.
        """
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.prompt = prompt
        self.injection = injection
        self.over = over
        self.blocks = tuple(blocks) if blocks is not None else None
        self.outputs = outputs
        self.injection_map = injection_map
        if injection.mode == "add" and injection.block >= self.arch.n_layers:
            raise InjectionError(
                f"injection after block {injection.block}, but the model has blocks 0 to {self.arch.n_layers - 1}.\n"
                "  Choose a smaller sft.injection_block."
            )
        head = model.get_output_embeddings()
        rows = len((head.head if isinstance(head, ChangedHead) else head).weight)
        if outputs is not None and rows != len(outputs):
            raise ContractError(
                f"the head has {rows} rows for {len(outputs)} output ids.\n"
                "  The usual cause is an own.safetensors put together from two. Copy the checkpoint again."
            )
        self.banned: Tensor
        self.register_buffer("banned", self._banned(prompt), persistent=False)
        self.eval()

    @classmethod
    def from_target(cls, target: Target, injection: Injection, prompt: VerbalizerPrompt | None = None) -> "Verbalizer":
        """A trainable copy of the target, with our plain prompt unless another is given."""
        model = trainable_copy(target.model).requires_grad_(True)
        return cls(model, target.tokenizer, prompt or plain_verbalizer_prompt(target.tokenizer), injection)

    @classmethod
    def load(
        cls,
        path: str | Path,
        prompt: VerbalizerPrompt,
        injection: Injection,
        *,
        target: Target | None = None,
        blocks: Sequence[int] | None = None,
        place: Placement = AUTO,
    ) -> "Verbalizer":
        """Load a saved directory; prompt, injection and blocks come from its contract.

        Args:
            path: a whole model, or differences from the target.
            prompt, injection: how it is asked.
            target: whose weights the differences are over; they are shared, and stay where they are.
            blocks: the target's blocks that it keeps; absent: all.
            place: where a whole model goes, and how its weights are held.

        Raises:
            UsageError: no model or tokenizer there, pickle weights only, or differences without their target.
            ContractError: differences from another target.
        """
        path = Path(path)
        if holds_differences(path):
            target = needed(target, path)
            model = sharing_copy(target.model) if blocks is None else with_blocks(target.model, blocks)
            tokenizer, over = target.tokenizer, target.name
        else:
            model, over = load_pretrained(AutoModelForCausalLM, str(path), place=place), None
            tokenizer = load_tokenizer(str(path), model)
            check_kept(path, model, blocks)
        beside = load_differences(path, model, blocks)
        outputs = Outputs(beside["output_ids"], model.config.vocab_size) if "output_ids" in beside else None
        mapped = affine_map(beside[MAP[0]], beside[MAP[1]]) if MAP[0] in beside else None
        if mapped is not None:
            mapped = mapped.to(Arch.find(model).device)
        parts = {"over": over, "blocks": blocks, "outputs": outputs, "injection_map": mapped}
        return cls(model, tokenizer, prompt, injection, **parts)  # type: ignore[arg-type]

    def save(self, path: str | Path, *, dtype: torch.dtype = torch.float32, merged: bool = False) -> None:
        """Write a directory that `load` reads.

        Args:
            path: the directory.
            dtype: number format of the weights on disk.
            merged: write an ordinary causal LM, adapters merged, even where the target's weights are shared; else such
                a role leaves its differences from the target alone.
        """
        path = Path(path)
        beside = {"output_ids": self.outputs.ids} if self.outputs is not None else {}
        if self.injection_map is not None:
            beside |= dict(zip(MAP, (self.injection_map.weight, self.injection_map.bias), strict=True))
        if self.over is not None and not merged:
            save_differences(path, self.model, self.over, self.blocks, beside, dtype)
        else:
            model = merged_copy(self.model, dtype)
            if self.outputs is not None:
                beside |= head_taken_out(model)
            with quietly():
                model.save_pretrained(path)
            save_own(path, beside, dtype)
        self.tokenizer.save_pretrained(path)

    def ask(self, prompt: VerbalizerPrompt) -> None:
        """Replace the prompt."""
        self.prompt = prompt
        self.banned = self._banned(prompt)

    def _banned(self, prompt: VerbalizerPrompt) -> Tensor:
        banned = prompt.banned_ids if self.outputs is None else self.outputs.present(prompt.banned_ids)
        return torch.tensor(banned, dtype=torch.long, device=self.device)

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
        return replace_at(embeds, self._positions(len(vectors), self.prompt.position), self._entering(vectors))

    @contextmanager
    def adding(self, vectors: Float[Tensor, "b d_model"], position: int) -> Iterator[None]:
        """In add mode, forwards inside the `with` add the vectors after the block; in replace mode nothing happens.

        Args:
            vectors: one per row of the forwards' batch.
            position: the vector's place in the tokens of these forwards: `prompt.position` for whole prompts, less
                the cached tokens where a cache holds the prefix.
        """
        if self.injection.mode == "replace":
            yield
            return
        positions = self._positions(len(vectors), position)
        entering = self._entering(vectors)

        def hook(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
            return add_after(output, positions, entering)

        handle = self.arch.blocks[self.injection.block].register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def logits(
        self, vectors: Float[Tensor, "b d_model"], ids: Int[Tensor, "b l"], mask: Int[Tensor, "b l"]
    ) -> Float[Tensor, "b l n"]:
        """Logits, float32, that predict each completion token, a column for each id the head writes; banned are -inf.

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
        return self.allowed(out.logits)

    def allowed(self, logits: Float[Tensor, "... n"]) -> Float[Tensor, "... n"]:
        """Logits of the model as float32, banned tokens -inf; in place where they are float32 already."""
        return logits.float().index_fill_(-1, self.banned, float("-inf"))

    def logprobs_of(
        self, logits: Float[Tensor, "b l n"], ids: Int[Tensor, "b l"], mask: Int[Tensor, "b l"]
    ) -> Float[Tensor, "b l"]:
        """log p of each completion token by its logits; 0 where masked."""
        mask = mask.to(self.device).bool()
        wanted = torch.where(mask, ids.to(self.device), self.prompt.stop_ids[0])
        if self.outputs is not None:
            wanted = self.outputs.to_columns(wanted)
        nll = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)
        return torch.where(mask, -nll, 0.0)

    def completion_ids(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Ids of the completions that state `texts`, at most `max_tokens` of each, the stop token last.

        A token that the head cannot write is spelled in bytes; a text that cannot be written gives no ids at all.
        """
        tokens = completion_ids(self.tokenizer, texts, self.prompt, max_tokens)
        if self.outputs is None:
            return tokens
        return [self.outputs.spelled(ids, self.tokenizer)[:max_tokens] for ids in tokens]

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
        return self.logprobs_of(logits if temperature == 1.0 else logits / temperature, ids, mask)

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
        twin = self.stop_twin()
        if twin is not None:
            raise UsageError(
                f"the frozen head cannot tell the stop token {self.prompt.stop_ids[0]} from token {twin[0]} "
                f"(cosine {twin[1]:.3f}), so explanations could not stop.\n"
                "  The usual cause is a small target that never saw its end-of-text token.\n"
                "  Fine-tune in full (`sft.adapter: null`), or call Verbalizer.train_stop_row() first."
            )

    @torch.no_grad()
    def stop_twin(self) -> tuple[int, float] | None:
        """The token that a frozen head cannot tell from the stop token, and their rows' cosine; None if all is well."""
        head = self.model.get_output_embeddings()
        if isinstance(head, ChangedHead) or head.weight.requires_grad:
            return None
        weight, stop = head.weight, self.prompt.stop_ids[0]
        cosine = F.cosine_similarity(weight.float(), weight[stop].float().unsqueeze(0), dim=-1)
        cosine[[stop, *self.prompt.banned_ids]] = -1.0
        twin = int(cosine.argmax())
        return (twin, float(cosine[twin])) if cosine[twin] > _SAME_ROW else None

    def train_stop_row(self) -> None:
        """Let the stop token's output row train although the head is frozen, in place; saving merges it."""
        head = self.model.get_output_embeddings()
        if not isinstance(head, ChangedHead):
            self.model.set_output_embeddings(StopRowHead(head, self.prompt.stop_ids[0]))

    def _entering(self, vectors: Tensor) -> Tensor:
        """The vectors as they enter: scaled and mapped; raw where they are added and no map scales them."""
        vectors = vectors.to(self.device)
        if self.injection_map is None and self.injection.mode == "add":
            return vectors
        scaled = scale_vector(vectors, self.injection.scale)
        return scaled if self.injection_map is None else self.injection_map(scaled)

    def _positions(self, batch: int, position: int) -> Tensor:
        return torch.full((batch,), position, device=self.device)


def affine_map(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A map of vectors with these weights, as they are."""
    linear = nn.utils.skip_init(nn.Linear, *weight.shape)
    linear.weight, linear.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
    return linear
