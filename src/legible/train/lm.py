"""Train the built-in world's target: a small Llama, next-token loss, and the future bag at one layer.

Future bag: the direction of the layer-K stream, compared by cosine with the directions of the content words'
embeddings at a fixed scale, predicts the set of content words still to come in the story (cross entropy against the
uniform distribution over the distinct ones). It adds no weights: the saved target is a plain causal LM. It plants what
the activations hold. A free linear map in its place lets the facts sit in a faint part of the stream that the map
amplifies; the fixed scale makes them a large share of the direction, which is what an NLA is scored on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from legible.config import AUTO, OptimizerConfig, Placement, PretrainConfig
from legible.fileio import write_directory
from legible.models.place import quietly
from legible.models.placement import device_of
from legible.train.loop import Loop, Metrics, seeded
from legible.train.optim import RoleOptimizer
from legible.vectors import unit


@dataclass(frozen=True)
class LMBatch:
    """Token ids padded on the right; the mask is true on real tokens."""

    ids: Int[Tensor, "b t"]
    mask: Bool[Tensor, "b t"]


class BaggedLM(nn.Module):
    """A causal LM with the future-bag loss beside the next-token loss, only while it is trained."""

    def __init__(
        self, model: LlamaForCausalLM, bag_layer: int, bag_scale: float, content_ids: Int[Tensor, " c"] | None
    ) -> None:
        super().__init__()
        self.model = model
        self.bag_layer = bag_layer
        self.bag_scale = bag_scale
        self.bagged = content_ids is not None
        if content_ids is not None:
            self.register_buffer("content_ids", content_ids, persistent=False)
            column = torch.full((model.config.vocab_size,), -1)
            column[content_ids] = torch.arange(len(content_ids))
            self.register_buffer("column", column, persistent=False)  # vocabulary id -> column, -1 for others

    def losses(self, batch: LMBatch) -> tuple[Float[Tensor, ""], Float[Tensor, ""] | None]:
        """Mean next-token loss in nats per predicted token; mean future-bag loss in nats per position, or None."""
        stream: list[Tensor] = []
        hook = None
        batch = LMBatch(batch.ids.to(self.model.device), batch.mask.to(self.model.device))
        if self.bagged:
            hook = self.model.model.layers[self.bag_layer].register_forward_hook(lambda _m, _i, out: stream.append(out))
        # right padding under a causal mask is never attended from a real token: no mask, the fast attention path
        final = self.model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        if hook is not None:
            hook.remove()
        predicts = batch.mask[:, 1:]
        logits = self.model.lm_head(final[:, :-1][predicts])
        lm_loss = F.cross_entropy(logits, batch.ids[:, 1:][predicts])
        if not self.bagged:
            return lm_loss, None
        return lm_loss, self._bag_loss(stream[0], batch)

    def _bag_loss(self, stream: Float[Tensor, "b t d"], batch: LMBatch) -> Float[Tensor, ""]:
        to_come = future_bag(batch.ids, batch.mask, self.get_buffer("column"), len(self.get_buffer("content_ids")))
        count = to_come.sum(-1)
        scored = batch.mask & (count > 0)
        target = to_come[scored].float()
        target /= count[scored].unsqueeze(-1)
        rows = self.model.model.embed_tokens.weight[self.get_buffer("content_ids")]
        return F.cross_entropy(self.bag_scale * (unit(stream[scored]) @ unit(rows).T), target)


def future_bag(
    ids: Int[Tensor, "b t"], mask: Bool[Tensor, "b t"], column: Int[Tensor, " v"], width: int
) -> Bool[Tensor, "b t c"]:
    """Whether content word c still comes strictly after position t; `column` maps ids to c, -1 for other tokens."""
    at = column[ids]
    place = torch.arange(1, ids.shape[1] + 1, device=ids.device).expand_as(ids)
    place = place.masked_fill((at < 0) | ~mask, 0)  # 0: never
    last = torch.zeros(len(ids), width, dtype=torch.long, device=ids.device).scatter_reduce(
        1, at.clamp_min(0), place, "amax"
    )
    return last.unsqueeze(1) > torch.arange(1, ids.shape[1] + 1, device=ids.device).view(1, -1, 1)


def new_lm(config: PretrainConfig, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """A randomly initialised Llama with tied embeddings, its weights drawn from the seed alone."""
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.d_model,
        intermediate_size=config.d_ff,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with seeded(config.seed):
        return LlamaForCausalLM(shape)


def train_lm(
    config: PretrainConfig,
    batches: Callable[[int], LMBatch],
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    *,
    made_by: str,
    content_ids: Int[Tensor, " c"] | None = None,
    label: str = "target",
    start: LlamaForCausalLM | None = None,
    place: Placement = AUTO,
) -> Path:
    """Train a target, from nothing or on from another, and save it (Hugging Face format); one that is there is kept.

    Args:
        config: shape, optimizer and future bag; `bag_weight` 0 trains the untreated twin.
        batches: the batch of a step (from 0), a pure function of its argument.
        tokenizer: saved beside the weights; its length is the vocabulary size.
        out: where the model goes; its caller has claimed it. State and metrics live in `OUT.training` beside it.
        made_by: digest of all that the target depends on; a state is resumed only under the same one.
        content_ids: token ids of the content words; needed when `bag_weight` > 0.
        start: a model to train on from, changed in place; its parameters that require no gradient stay as they are.
        place: the device of a new model; `start` stays where it is.

    Returns:
        `out`.

    Raises:
        ValueError: a bag weight without content words.
    """
    if config.bag_weight > 0 and content_ids is None:
        raise ValueError("a future bag needs content_ids: the token ids of the words it predicts")
    if (out / "config.json").is_file():
        return out
    model = start or new_lm(config, tokenizer)
    trained = BaggedLM(model, config.bag_layer, config.bag_scale, content_ids if config.bag_weight > 0 else None)
    trained.eval().to(device_of(place) if start is None else start.device)
    recipe = OptimizerConfig(
        lr=config.lr, muon_lr=config.muon_lr, weight_decay=config.weight_decay, warmup=config.warmup, schedule="linear"
    )
    optimizer = RoleOptimizer(trained, recipe, config.steps)

    def step(index: int) -> Metrics:
        lm_loss, bag_loss = trained.losses(batches(index))
        (lm_loss if bag_loss is None else lm_loss + config.bag_weight * bag_loss).backward()
        norm = optimizer.step(index)
        bag = None if bag_loss is None else bag_loss.item()
        return {"loss": lm_loss.item(), "bag_loss": bag, "grad_norm": norm, "skipped": optimizer.skipped}

    folder = out.with_name(f"{out.name}.training")
    Loop(
        label,
        config.steps,
        config.save_every,
        folder / "state.safetensors",
        folder / "metrics.jsonl",
        {"lm": trained},
        {"lm": optimizer},
        made_by,
    ).run(step)

    def write(folder: Path) -> None:
        with quietly():
            trained.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    write_directory(out, write)
    (folder / "state.safetensors").unlink(missing_ok=True)
    return out
