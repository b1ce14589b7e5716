"""Typed run configuration: one section a stage, an unknown key is an error, saved beside every result.

The text under each field becomes its help. A recipe is a function that returns a `RunConfig`.
"""

import json
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from legible.errors import ConfigError
from legible.fileio import write_json


class Section(BaseModel):
    """Base of every section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Section)
POSITION_FIELDS = ("positions_per_doc", "min_pos", "sentence_end_share", "max_tokens", "predictions")


class PretrainConfig(Section):
    """Train the built-in world's target from nothing."""

    d_model: int = Field(128, description="width of the residual stream")
    n_layers: int = Field(4, description="transformer blocks")
    n_heads: int = Field(4, description="attention heads")
    d_ff: int = Field(256, description="width of the gated MLP")
    context: int = Field(288, description="longest sequence in tokens")
    steps: int = Field(2400, description="optimizer steps")
    batch: int = Field(12, description="stories a step")
    lr: float = Field(3e-3, description="peak AdamW learning rate (embeddings, norms)")
    muon_lr: float = Field(
        2e-2, description="peak Muon learning rate (2-D weights inside blocks); 0 uses AdamW for all"
    )
    weight_decay: float = Field(0.01, description="decoupled weight decay")
    warmup: int = Field(50, description="linear warm-up steps")
    bag_weight: float = Field(1.0, description="weight of the future-bag loss at `bag_layer`; 0 is the untreated twin")
    bag_scale: float = Field(
        16.0,
        description="the bag's logits are this times a cosine; smaller gives the facts a larger share of the stream",
    )
    bag_layer: int = Field(2, description="layer whose stream the future bag reads")
    seed: int = Field(0, description="seed of weights, stories and order")
    save_every: int = Field(200, description="steps between resumable states")


class CaptureConfig(Section):
    """Which activations of which documents go into the store."""

    layers: tuple[int, ...] = Field(
        (2,), description="layers K (residual stream after block K, from 0), one pass for all"
    )
    positions_per_doc: int = Field(8, description="tokens sampled per document by (seed, doc_id)")
    min_pos: int = Field(50, description="earliest token index sampled; 50 by the contract, lower for short contexts")
    sentence_end_share: float = Field(
        0.0, description="share of the positions drawn from sentence-final tokens where there are any"
    )
    max_tokens: int = Field(512, description="documents are truncated to this many tokens (counted)")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float16", description="number format of the stored vectors"
    )
    batch_tokens: int = Field(8192, description="padded tokens in one forward pass")
    shard_rows: int = Field(4096, description="rows in one shard; a finished shard survives a kill")
    predictions: int = Field(
        0, description="store the target's own top-N next tokens and its surprise at the read token"
    )
    seed: int = Field(0, description="seed of the sampled positions")

    def positions_text(self) -> str:
        """Which positions are sampled, for the contract's `variance.positions`: `key=value` pairs."""
        return " ".join(f"{name}={getattr(self, name)}" for name in POSITION_FIELDS)

    @classmethod
    def from_positions(cls, text: str, **others: Any) -> "CaptureConfig":
        """A configuration that samples as `text` says; fields that it does not name keep their defaults.

        Raises:
            ConfigError: an unknown key or an impossible value.
        """
        named = dict(pair.partition("=")[::2] for pair in text.split())
        if unknown := sorted(set(named) - set(POSITION_FIELDS)):
            raise ConfigError(f"{text!r} names {', '.join(unknown)}, expected {', '.join(POSITION_FIELDS)}.")
        return validated(cls, {**named, **others}, "the contract's variance.positions")


class TeachConfig(Section):
    """Who writes the warm-start text, and how much it may say."""

    teacher: str = Field("world", description="world | facts | openai:MODEL@URL | anthropic:MODEL | local:PATH")
    limit: Literal["none", "probes"] = Field(
        "none", description="'probes': only claims that probes find in the activation"
    )
    threshold: float = Field(
        0.5, description="a limited teacher keeps claims whose calibrated probe probability reaches this"
    )
    concurrency: int = Field(4, description="requests in flight (HTTP teachers)")
    max_tokens: int = Field(300, description="longest text asked of an HTTP or local teacher")
    temperature: float = Field(0.7, description="sampling temperature asked of an HTTP or local teacher")
    retries: int = Field(6, description="tries after 429, 5xx or a timeout, with exponential back-off")
    timeout: float = Field(60.0, description="seconds per request")
    seed: int = Field(0, description="seed of the wording (world, facts)")


class AdapterConfig(Section):
    """LoRA instead of full fine-tuning."""

    rank: int = Field(16, description="LoRA rank")
    alpha: float = Field(32.0, description="LoRA alpha")
    rslora: bool = Field(False, description="rank-stabilised scaling, alpha / sqrt(rank) (arXiv 2312.03732)")
    dora: bool = Field(False, description="weight-decomposed LoRA (arXiv 2402.09353)")


class OptimizerConfig(Section):
    """AdamW, and Muon for the 2-D weights inside blocks under full fine-tuning."""

    lr: float = Field(1e-3, description="peak AdamW learning rate")
    muon_lr: float = Field(
        0.0, description="peak Muon learning rate for 2-D weights inside blocks; 0 uses AdamW for all"
    )
    weight_decay: float = Field(0.0, description="decoupled weight decay")
    warmup: int = Field(20, description="linear warm-up steps")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "linear", description="decay after the warm-up, to a tenth of the peak"
    )
    clip: float = Field(1.0, description="gradient norm above which gradients are scaled down")


class SFTConfig(Section):
    """Warm start of verbalizer and reconstructor on the teacher's text."""

    steps: int = Field(800, description="optimizer steps of each role")
    batch_tokens: int = Field(2048, description="padded tokens a step; rows are grouped by length")
    verbalizer: OptimizerConfig = Field(OptimizerConfig(), description="verbalizer's optimizer")
    reconstructor: OptimizerConfig = Field(OptimizerConfig(), description="reconstructor's optimizer")
    adapter: AdapterConfig | None = Field(None, description="LoRA for both roles; absent is full fine-tuning")
    injection_mode: Literal["replace", "add"] = Field(
        "replace", description="replace the embedding, or add after a block (norm-matched)"
    )
    injection_block: int = Field(1, description="block after which `add` adds")
    injection_scale: float | Literal["sqrt_d_model"] | None = Field(
        "sqrt_d_model", description="norm of the injected vector; null keeps it raw"
    )
    max_explanation_tokens: int = Field(96, description="longer teacher texts are truncated (counted)")
    seed: int = Field(0, description="seed of order and dropout")
    save_every: int = Field(200, description="steps between resumable states")


class RLConfig(Section):
    """Joint training by GRPO on how well the vector comes back."""

    steps: int = Field(100, description="RL steps; 0 skips the stage")
    prompts: int = Field(32, description="activations a step")
    group: int = Field(8, description="sampled explanations per activation (GRPO group)")
    temperature: float = Field(1.0, description="sampling temperature of the rollouts")
    max_tokens: int = Field(96, description="longest rollout")
    reward: Literal["neg_mse", "log_mse"] = Field("neg_mse", description="-direction_mse, or its negative log")
    advantage_std: bool = Field(
        False,
        description="divide by the group's standard deviation (GRPO, arXiv 2402.03300); off: Dr. GRPO (2503.20783)",
    )
    loss_norm: Literal["token", "sequence"] = Field(
        "token", description="token: DAPO, arXiv 2503.14476; sequence: GRPO"
    )
    clip_low: float = Field(0.2, description="PPO clip below 1")
    clip_high: float = Field(0.28, description="PPO clip above 1 (clip-higher, DAPO)")
    epochs: int = Field(1, description="passes over the rollouts of a step")
    minibatches: int = Field(1, description="optimizer steps per pass")
    kl: float = Field(0.02, description="weight of the KL to the SFT model, in the loss (k3 estimator)")
    length_cost: float = Field(0.001, description="reward taken per explanation token")
    parse_penalty: float = Field(2.0, description="reward of a failed parse is minus this")
    reconstructor_weight: float = Field(
        1.0, description="the reconstructor regresses on the same rollouts; 0 freezes it"
    )
    verbalizer: OptimizerConfig = Field(
        OptimizerConfig(lr=2e-4, schedule="constant", warmup=5), description="verbalizer's optimizer"
    )
    reconstructor: OptimizerConfig = Field(
        OptimizerConfig(lr=5e-4, schedule="constant", warmup=5), description="reconstructor's optimizer"
    )
    evaluate_every: int = Field(20, description="steps between held-out measurements; the best is kept")
    select_by: str = Field("context_fve", description="held-out (dev) measure that chooses the checkpoint")
    seed: int = Field(0, description="seed of prompts and sampling")
    save_every: int = Field(20, description="steps between resumable states")


class EvalConfig(Section):
    """Fresh held-out documents for the final report."""

    documents: int = Field(150, description="held-out documents")
    positions_per_doc: int = Field(4, description="tokens read per document")
    foresight_rows: int = Field(24, description="tokens with open facts whose continuations are sampled (world)")
    continuations: int = Field(16, description="sampled continuations per such token")
    probe_rows: int = Field(20000, description="rows that fit the probes behind `decodable`")
    max_tokens: int = Field(96, description="longest explanation")
    seed: int = Field(1, description="seed of documents and positions")


class RunConfig(Section):
    """A whole run: `legible train RECIPE` writes it to OUT/config.json before anything else."""

    recipe: str = Field("custom", description="the recipe that made this")
    target: str | None = Field(
        None, description="directory or hub name of a causal LM; absent: the world's target is trained"
    )
    revision: str | None = Field(None, description="hub revision of the target")
    trust_remote_code: bool = Field(False, description="run model code from the target's repository")
    corpus: str | None = Field(None, description="file of documents; absent: the world writes them")
    layer: int = Field(2, description="layer K that is read")
    train_documents: int = Field(3000, description="documents captured for training")
    dev_documents: int = Field(120, description="documents captured for choosing checkpoints")
    pretrain: PretrainConfig = PretrainConfig()
    capture: CaptureConfig = CaptureConfig()
    teach: TeachConfig = TeachConfig()
    sft: SFTConfig = SFTConfig()
    rl: RLConfig = RLConfig()
    evaluate: EvalConfig = EvalConfig()
    threads: int = Field(2, description="torch threads; results are bit-identical only at the same number")
    seed: int = Field(0, description="seed of the whole run; recipes copy it into every stage")


def load_config(path: Path) -> RunConfig:
    """Read a saved configuration.

    Raises:
        ConfigError: not JSON, an unknown key, or a value of the wrong type.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(
            f"{path} is not a run configuration: {error}\n  Compare it with the config.json of a finished run."
        ) from None
    return validated(RunConfig, tree, str(path))


def validated(section: type[S], tree: Any, source: str = "the configuration") -> S:
    """A section made from plain values.

    Args:
        section: its class.
        tree: a mapping of its fields.
        source: what the message calls it.

    Raises:
        ConfigError: an unknown key or a value that does not fit, named with its place.
    """
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        places = [(".".join(str(part) for part in e["loc"]) or "the whole", e) for e in error.errors()]
        found = "; ".join(f"{place} = {e['input']!r}: {e['msg']}" for place, e in places)
        raise ConfigError(
            f"{source} does not fit: {found}.\n"
            "  The usual cause is a misspelt key or a value of another type.\n"
            "  Compare it with the config.json of a finished run, or see --help."
        ) from None


def save_config(config: RunConfig, path: Path) -> None:
    """Write the configuration as JSON, atomically."""
    write_json(path, config.model_dump(mode="json"))
