"""The frozen model under study: its tokens, its residual streams, its predictions.

Layer K is the residual stream after block K, blocks counted from 0, as the block leaves it: for the last block that
is the stream before the final norm, where transformers' `hidden_states[-1]` is the normed one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from legible.config import AUTO, Placement
from legible.errors import UnsupportedModelError, UsageError
from legible.fileio import repaired
from legible.models.arch import Arch, check_layer, check_rows, sharing_copy
from legible.models.loading import end_ids, here, load_pretrained, load_tokenizer
from legible.models.named import own_name
from legible.models.place import one_line
from legible.models.placement import FULL, is_quantized, precision_of
from legible.models.stored import stored_sha256, stored_tensors

_TOLERANCE = {"float32": 1e-3, "float16": 1e-2}  # of the stream's own norm: float32 batches differ by about 1e-6,
_ROUGH = 0.1  # bfloat16 and quantized ones by about 1e-2, a wrong layer by about 1


@dataclass(frozen=True)
class Encoded:
    """A text's token ids, special tokens as the tokenizer adds them, and their places in the text.

    offsets: (start, end) in characters, (0, 0) for special tokens.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]


class Target:
    """A frozen causal LM with its tokenizer. Activations leave it raw, in float32.

    Example:
        >>> target = Target.load("my-model")  # doctest: +SKIP
        >>> ids = torch.tensor([target.encode("Hi there").ids])  # doctest: +SKIP
        >>> target.streams(ids, torch.ones_like(ids), (3,))[3].shape  # doctest: +SKIP
        torch.Size([1, 3, 64])
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        """Take a loaded model; `name` is what reports call it."""
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.arch = Arch.find(model)
        self.d_model = self.arch.d_model
        self.n_layers = self.arch.n_layers
        self.context: int = model.config.max_position_embeddings
        if not isinstance(self.context, int) or self.context < 1:
            raise UsageError(
                f"{name} says max_position_embeddings {self.context!r}, expected a positive number of tokens.\n"
                "  Mend its config.json."
            )
        self.bos_id: int | None = tokenizer.bos_token_id
        self.end_ids = end_ids(model, tokenizer)
        self._sha256: str | None = None
        self._stored_in: Path | None = None  # the folder of the weights, where those in memory have fewer bits
        self._stopped: dict[int, Arch] = {}  # layer -> the model that ends there, sharing the weights

    @classmethod
    def load(
        cls,
        name: str,
        *,
        revision: str | None = None,
        trust_remote_code: bool = False,
        place: Placement = AUTO,
    ) -> "Target":
        """Load a model by its name (see `legible.models.local`); weights only from safetensors or a GGUF file.

        Args:
            name: directory or hub name.
            revision, trust_remote_code: of the hub.
            place: the device, and how the weights are held.

        Raises:
            UsageError: nothing there, no such device, pickle weights only, or no usable tokenizer.
            UnsupportedModelError: a family that Legible does not know.
        """
        options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
        model = load_pretrained(AutoModelForCausalLM, name, place=place, **options)
        tokenizer = load_tokenizer(name, model, **options)
        target = cls(model, tokenizer, own_name(name))
        if target.precision != FULL:
            target._stored_in, _ = here(name, options)
        return target

    @classmethod
    def of(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> "Target":
        """A model that is in memory already: its weights are shared, and nothing of it is changed, its mode included.

        Args:
            model: a causal LM of transformers.
            tokenizer: its own; absent: the one at `model.name_or_path`.

        Raises:
            UsageError: no such tokenizer, or a slow one, which has no character offsets.
            UnsupportedModelError: a family that Legible does not know.
        """
        name = str(model.name_or_path or "")
        if tokenizer is None:
            if not name:
                raise UsageError(
                    "the model in memory does not say where it comes from (name_or_path is empty), so its tokenizer "
                    "cannot be found.\n  Give it: tokenizer=..."
                )
            tokenizer = load_tokenizer(name, model)
        if not tokenizer.is_fast:
            raise UsageError(
                f"the tokenizer given, {type(tokenizer).__name__}, gives no character offsets.\n"
                "  Load a fast one: AutoTokenizer.from_pretrained(NAME)."
            )
        called = f"{own_name(name)} (in memory)" if name else "the model in memory"
        return cls(sharing_copy(model, detached=True), tokenizer, called)

    @property
    def device(self) -> torch.device:
        """Where the weights are; inputs are moved there."""
        return self.arch.device

    @property
    def precision(self) -> str:
        """How the weights are held, see `legible.models.placement.precision_of`."""
        return precision_of(self.model)

    def encode(self, text: str) -> Encoded:
        """Token ids and character offsets of a text.

        Raises:
            UsageError: the text is empty, or holds a token that the embedding has no row for.
        """
        if not text.strip():
            raise UsageError("the text is empty.\n  Give at least one word.")
        out = self.tokenizer(repaired(text), return_offsets_mapping=True, verbose=False)
        check_rows(out["input_ids"], self.model, self.name)
        return Encoded(list(out["input_ids"]), [(int(a), int(b)) for a, b in out["offset_mapping"]])

    @torch.no_grad()
    def streams(
        self, ids: Int[Tensor, "b t"], mask: Int[Tensor, "b t"], layers: Sequence[int]
    ) -> dict[int, Float[Tensor, "b t d_model"]]:
        """Raw residual streams of a right-padded batch; blocks after the deepest layer do not run.

        Args:
            ids, mask: right padding; rows of the result at masked tokens are meaningless.
            layers: any of 0..n_layers-1.

        Raises:
            UsageError: a layer out of range, or more tokens than the context.
        """
        for layer in layers:
            check_layer(layer, self.n_layers)
        self._check_ids(ids)
        ids, mask = ids.to(self.device), mask.to(self.device)
        deepest = max(layers)
        if deepest not in self._stopped:
            self._stopped[deepest] = Arch.find(self.arch.truncated(deepest + 1))
        with self.arch.recording(tuple(layer for layer in set(layers) if layer != deepest)) as found:
            found[deepest] = self._stopped[deepest].stream(self.arch.embed(ids), mask)
        return {layer: found[layer].float() for layer in layers}

    @torch.no_grad()
    def logits(self, ids: Int[Tensor, "b t"], mask: Int[Tensor, "b t"]) -> Float[Tensor, "b t vocab"]:
        """Next-token logits of a right-padded batch, float32.

        Raises:
            UsageError: more tokens than the context.
        """
        self._check_ids(ids)
        ids, mask = ids.to(self.device), mask.to(self.device)
        position_ids = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
        return self.model(input_ids=ids, attention_mask=mask, position_ids=position_ids, use_cache=False).logits.float()

    @torch.no_grad()
    def logits_at(
        self,
        ids: Int[Tensor, "b t"],
        mask: Int[Tensor, "b t"],
        rows: Int[Tensor, " n"],
        places: Int[Tensor, " n"],
        cache: Cache | None = None,
    ) -> Float[Tensor, "n vocab"]:
        """Next-token logits, float32, behind some tokens of a right-padded batch: the head computes no others.

        Args:
            ids, mask: the batch.
            rows, places: of each token asked for.
            cache: filled with the batch's keys and values.

        Raises:
            UsageError: more tokens than the context.
        """
        self._check_ids(ids)
        ids, mask = ids.to(self.device), mask.to(self.device)
        rows, places = rows.to(self.device), places.to(self.device)
        head = self.model.get_output_embeddings()
        pick = lambda _module, given: (given[0][rows, places][None], *given[1:])
        handle = head.register_forward_pre_hook(pick)
        try:
            output = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=torch.arange(ids.shape[1], device=ids.device).expand(ids.shape),
                past_key_values=cache,
                use_cache=cache is not None,
            )
        finally:
            handle.remove()
        return output.logits[0].float()

    def sha256(self) -> str:
        """Checksum of the weights: names, shapes and float32 bytes, in name order.

        Of a target that was loaded in fewer bits, that of the weights on disk: it is the same model.

        Raises:
            UsageError: loaded in fewer bits, and the files name their weights otherwise than the model does.
        """
        if self._sha256 is None and self._stored_in is not None:
            self._sha256 = stored_sha256(self.model, stored_tensors(str(self._stored_in)))
            if self._sha256 is None:
                raise UsageError(
                    f"the files of {self.name} name their weights otherwise than the model does, so their checksum can "
                    f"only be taken in float32, and it was loaded in {self.precision}.\n"
                    "  Choose --dtype float32 and no --quantize."
                )
        if self._sha256 is None:
            digest = hashlib.sha256()
            for name, weight in sorted(self.model.state_dict().items()):
                digest.update(f"{name} {tuple(weight.shape)}\n".encode())
                digest.update(weight.detach().float().contiguous().cpu().numpy().data)
            self._sha256 = digest.hexdigest()
        return self._sha256

    @torch.no_grad()
    def self_check(self, layer: int) -> None:
        """Prove that `layer` is the stream we say it is, before anything expensive.

        Compares the stopped, batched, right-padded stream with a plain unbatched full forward; and makes sure that
        a changed input embedding changes the output, so that injection can work.

        Raises:
            UsageError: the layer is out of range.
            UnsupportedModelError: the model cannot run, the streams disagree, or the model ignores `inputs_embeds`.
        """
        check_layer(layer, self.n_layers)
        length = min(12, self.context)
        ids = (torch.arange(length, device=self.device) * 7 + 3).remainder(self.arch.embedding.num_embeddings)
        ids = ids.unsqueeze(0)
        witness = sharing_copy(self.model)  # output_hidden_states leaves hooks behind
        try:
            plain = witness(input_ids=ids, output_hidden_states=True, use_cache=False)
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            cause = (
                "an impossible number in its config.json. Copy it from the original again."
                if not is_quantized(self.model)
                else "a width that is no multiple of 64, which 4-bit weights need. Choose --quantize 8bit or none."
            )
            raise UnsupportedModelError(
                f"{self.name} cannot read {length} tokens: {one_line(error)}\n  The usual cause is {cause}"
            ) from error
        padded = torch.cat([ids, ids[:, :1]], 1) if length < self.context else ids
        mask = (torch.arange(padded.shape[1], device=self.device) < length).long().unsqueeze(0)
        ours = self.streams(padded, mask, (layer,))[layer][:, :length]
        if layer == self.n_layers - 1:
            ours = self.arch.final_norm(ours.to(plain.hidden_states[-1].dtype)).float()
        expected = plain.hidden_states[layer + 1].float()
        gap = float((ours - expected).norm() / expected.norm())
        near = _TOLERANCE.get(self.precision, _ROUGH)
        if not gap < near:
            raise UnsupportedModelError(
                f"{self.name}: the stream of layer {layer} differs from a plain forward by {gap:.2g} of its norm, "
                f"expected below {near:g}.\n"
                "  The usual cause is remote model code, or a transformers version that orders its blocks otherwise.\n"
                "  Use an unmodified model of a supported family."
            )
        embeds = self.arch.embed(ids)
        changed = self.model(inputs_embeds=embeds.flip(-1), use_cache=False).logits
        same = self.model(inputs_embeds=embeds, use_cache=False).logits
        if not torch.allclose(same, plain.logits, rtol=near, atol=near) or torch.allclose(changed, same):
            raise UnsupportedModelError(
                f"{self.name}: embeddings do not give what their tokens give, so nothing can be injected.\n"
                "  Use an unmodified model of a supported family."
            )

    def _check_ids(self, ids: Tensor) -> None:
        check_rows([int(ids.max())], self.model, self.name)
        if ids.shape[1] > self.context:
            raise UsageError(
                f"{ids.shape[1]} tokens are more than the context of {self.name}, {self.context}.\n  Shorten the text."
            )
