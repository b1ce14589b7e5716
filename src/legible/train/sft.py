"""Warm start: the verbalizer learns to write the teacher's text from a vector, the reconstructor to read it back.

Two trainings after each other, each resumable: next-token loss of (vector -> explanation, stop token), and
direction_mse of (explanation -> vector). Explanations are kept as flat arrays of token ids, never as lists.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from legible.config import OptimizerConfig, SFTConfig
from legible.data.batches import pad
from legible.data.store import Store
from legible.errors import UsageError
from legible.fileio import write_directory
from legible.identity import is_finished
from legible.injection import Injection
from legible.languages.base import Language
from legible.models import roles
from legible.models.arch import check_blocks
from legible.models.outputs import corpus_ids
from legible.models.placement import refuse_quantized, trained_at
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.prompts import completion_ids, plain_reconstructor_prompt, plain_verbalizer_prompt
from legible.teachers.base import count_taught, taught_texts
from legible.train.examples import BatchOrder, TokenTable, check_rows
from legible.train.loop import Metrics, run_role
from legible.train.needs import check_sft
from legible.train.optim import RoleOptimizer
from legible.train.terms.paraphrase import Rewording, check_rewording
from legible.vectors import direction_mse


@dataclass(frozen=True)
class SFTResult:
    """What the warm start left and what it counted."""

    rows: int
    refused: int  # rows for which the teacher wrote nothing
    unwritable: int  # texts left out of the verbalizer's training: they need a banned token
    truncated: int  # explanations longer than max_explanation_tokens
    skipped_verbalizer: int  # optimizer steps with non-finite gradients
    skipped_reconstructor: int


def explanation_ids(reconstructor: Reconstructor, texts: list[str], max_tokens: int) -> list[list[int]]:
    """What the reconstructor reads, at most `max_tokens` tokens."""
    ids, mask = reconstructor.encode(texts)
    return [row[keep].tolist()[:max_tokens] for row, keep in zip(ids, mask.bool(), strict=True)]


def verbalizer_loss(verbalizer: Verbalizer, vectors: Float[Tensor, "b d"], ids: list[list[int]]) -> Float[Tensor, ""]:
    """Mean negative log-likelihood in nats per token, the stop token counted."""
    tokens, mask = (part.to(vectors.device) for part in pad(ids))
    logprobs = verbalizer.logprobs(vectors, tokens, mask)
    return -logprobs.sum() / mask.sum()


def reconstructor_loss(
    reconstructor: Reconstructor, vectors: Float[Tensor, "b d"], ids: list[list[int]]
) -> Float[Tensor, ""]:
    """Mean direction_mse of the vectors read back from the explanations, in [0, 4]."""
    tokens, mask = (part.to(vectors.device) for part in pad(ids))
    return direction_mse(reconstructor(tokens, mask), vectors).mean()


def injection_of(config: SFTConfig) -> Injection:
    """The injection that the configuration describes."""
    return Injection(config.injection_mode, config.injection_scale, config.injection_block)


def verbalizer_shape(config: SFTConfig, target: Target, teach_file: Path) -> roles.Shape:
    """What the configured verbalizer keeps of the target; a corpus head writes the ids of the teacher's text."""
    output_ids = None
    if config.output_vocabulary == "corpus":
        prompt, limit = plain_verbalizer_prompt(target.tokenizer), config.max_explanation_tokens + 1
        texts = [text for _, text in taught_texts(teach_file)]
        output_ids = tuple(corpus_ids(target.tokenizer, prompt, completion_ids(target.tokenizer, texts, prompt, limit)))
    affine = config.injection_map == "affine"
    return roles.Shape(config.verbalizer_blocks, config.adapter, output_ids, affine)


def new_verbalizer(config: SFTConfig, target: Target, teach_file: Path) -> Verbalizer:
    """A verbalizer with the target's weights, ready to be trained as the configuration says."""
    shape = verbalizer_shape(config, target, teach_file)
    return roles.new_verbalizer(target, injection_of(config), shape, seed=config.seed)


def new_reconstructor(config: SFTConfig, target: Target, layer: int) -> Reconstructor:
    """A reconstructor of layer K with the target's weights and an identity head, ready to be trained."""
    shape = roles.Shape(config.reconstructor_blocks, config.adapter)
    return roles.new_reconstructor(target, layer, shape, seed=config.seed + 1)


def check_kept_blocks(config: SFTConfig, target: Target) -> None:
    """Refuse, before anything expensive, blocks that the target does not have.

    Raises:
        UsageError: names option, blocks and what there is.
    """
    for option in ("verbalizer_blocks", "reconstructor_blocks"):
        if (blocks := getattr(config, option)) is not None:
            check_blocks(blocks, target.n_layers, f"sft.{option}")


def warm_roles(config: SFTConfig, target: Target, layer: int, folder: Path) -> tuple[Verbalizer, Reconstructor]:
    """Both roles as the warm start in `folder` left them, ready to be trained on.

    Raises:
        UsageError: `folder` holds no finished warm start; or it has adapters, and the target is quantized.
    """
    if not is_finished(folder):
        raise UsageError(f"no finished warm start in {folder}.\n  Run `legible sft` first.")
    if config.adapter is not None:
        _refuse_quantized(target)
    return saved_roles(config, target, layer, folder)


def _refuse_quantized(target: Target) -> None:
    """Weights in 8 or 4 bits are read, not trained on."""
    refuse_quantized(
        target.model, "a training was asked for", "Train adapters over --dtype bfloat16 instead: --adapter-rank 16."
    )


def saved_roles(config: SFTConfig, target: Target, layer: int, folder: Path) -> tuple[Verbalizer, Reconstructor]:
    """Both roles as they stand in `folder/av` and `folder/ar`: whole models, or over the target's weights."""
    prompts = plain_verbalizer_prompt(target.tokenizer), plain_reconstructor_prompt(target.tokenizer)
    given: dict[str, Any] = {"target": target, "place": trained_at(target.model)}
    kept = config.verbalizer_blocks, config.reconstructor_blocks
    verbalizer = Verbalizer.load(folder / "av", prompts[0], injection_of(config), blocks=kept[0], **given)
    return verbalizer, Reconstructor.load(folder / "ar", prompts[1], layer=layer, blocks=kept[1], **given)


def train_sft(
    config: SFTConfig,
    target: Target,
    layer: int,
    store: Store,
    teach_file: Path,
    out: Path,
    *,
    made_by: str,
    language: Language | None = None,
) -> SFTResult:
    """Warm-start both roles; unfinished work in `out` resumes from its last states, which stay there.

    Args:
        config: steps, batches, optimizers, adapter and injection.
        target: both roles start from its weights.
        layer: layer K of the store that is read.
        store: captured activations of the training split.
        teach_file: the teacher's JSON lines for exactly this store.
        out: gets `av/`, `ar/` and `metrics.jsonl`; its caller has claimed it.
        made_by: digest of all that the warm start depends on; a state is resumed only under the same one.
        language: puts the reconstructor's texts in other words (`config.paraphrase`).

    Raises:
        UsageError: no taught rows, paraphrases without a language, or a quantized target.
        NotEnoughMemoryError: it does not fit beside the target.
        TrainingError: only non-finite gradients, or a full disk.
    """
    check_rewording(config.paraphrase, language, "sft.paraphrase")
    _refuse_quantized(target)
    check_sft(config, target, layer)
    av = verbalizer_training(config, target, layer, store, teach_file)
    _train("av", av, config, out, made_by)
    stop_id = plain_verbalizer_prompt(target.tokenizer).stop_ids[0]
    counts, skipped = _counts(teach_file, av.table, stop_id), av.optimizer.skipped
    del av  # one role in memory at a time
    ar = reconstructor_training(config, target, layer, store, teach_file, language)
    _train("ar", ar, config, out, made_by)
    return SFTResult(**counts, skipped_verbalizer=skipped, skipped_reconstructor=ar.optimizer.skipped)


class RoleTraining:
    """One role, its optimizer and its examples; `step` is all that one step does."""

    def __init__(
        self,
        module: Verbalizer | Reconstructor,
        recipe: OptimizerConfig,
        config: SFTConfig,
        table: TokenTable,
        prompt_tokens: int,
        store: Store,
        layer: int,
        loss_of: Callable[[Tensor, list[list[int]]], Tensor],
    ) -> None:
        self.module = module
        self.optimizer = RoleOptimizer(module, recipe, config.steps)
        self.table = table
        self.lengths: NDArray[np.int64] = table.lengths + prompt_tokens  # of the whole sequence
        self.order = BatchOrder(self.lengths, config.batch_tokens, config.seed)
        self._store, self._layer, self._loss_of = store, layer, loss_of
        self.reword: Rewording | None = None

    def loss(self, batch: list[int]) -> Float[Tensor, ""]:
        """Loss of the examples of a batch."""
        vectors = self._store.vectors(self.table.rows[batch], self._layer).to(self.module.device)
        ids = [self.table[i] for i in batch]
        if self.reword is not None:
            ids = self.reword(self.order.epoch, batch, self.table.rows[batch].tolist(), ids)
        return self._loss_of(vectors, ids)

    def step(self, index: int) -> Metrics:
        """One optimizer step."""
        batch = self.order(index)
        loss = self.loss(batch)
        loss.backward()
        value = loss.item()
        norm = self.optimizer.step(index)
        return {"loss": value, "grad_norm": norm, "rows": len(batch), "skipped": self.optimizer.skipped}


def verbalizer_training(config: SFTConfig, target: Target, layer: int, store: Store, teach_file: Path) -> RoleTraining:
    """The verbalizer's training before its first step; proves first that its stop token can be emitted."""
    verbalizer = new_verbalizer(config, target, teach_file)
    verbalizer.check_stop_token()
    limit = config.max_explanation_tokens + 1  # and the stop token
    encode = lambda texts: verbalizer.completion_ids(texts, limit)
    table = TokenTable.build(taught_texts(teach_file), encode)
    check_rows(table, store, teach_file)
    loss_of = lambda vectors, ids: verbalizer_loss(verbalizer, vectors, ids)
    prompt = len(verbalizer.prompt.ids)
    return RoleTraining(verbalizer, config.verbalizer, config, table, prompt, store, layer, loss_of)


def reconstructor_training(
    config: SFTConfig, target: Target, layer: int, store: Store, teach_file: Path, language: Language | None = None
) -> RoleTraining:
    """The reconstructor's training before its first step; with a language in other words where the config says so."""
    reconstructor = new_reconstructor(config, target, layer)
    limit = config.max_explanation_tokens
    encode = lambda texts: explanation_ids(reconstructor, texts, limit)
    table = TokenTable.build(taught_texts(teach_file), encode)
    check_rows(table, store, teach_file)
    loss_of = lambda vectors, ids: reconstructor_loss(reconstructor, vectors, ids)
    prompt = len(reconstructor.prompt.prefix_ids) + len(reconstructor.prompt.suffix_ids)
    training = RoleTraining(reconstructor, config.reconstructor, config, table, prompt, store, layer, loss_of)
    if language is not None and config.paraphrase > 0:
        training.reword = Rewording(config.paraphrase, language, store, reconstructor.tokenizer, encode, config.seed)
    return training


def _train(role: str, training: RoleTraining, config: SFTConfig, out: Path, made_by: str) -> None:
    """Train one role to the last step and save it."""
    label = "sft verbalizer" if role == "av" else "sft reconstructor"
    run_role(role, label, config, out, made_by, training.module, training.optimizer, training.step)
    write_directory(out / role, training.module.save)


def _counts(teach_file: Path, table: TokenTable, stop_id: int) -> dict[str, int]:
    taught = count_taught(teach_file)
    truncated = sum(1 for i in range(len(table)) if table[i][-1] != stop_id)
    return {
        "rows": len(table),
        "refused": taught["refused"],
        "unwritable": taught["written"] - len(table),
        "truncated": truncated,
    }
