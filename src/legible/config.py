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


class SecretsConfig(Section):
    """Fine-tune two targets that believe different things on identical text (`legible world secrets`)."""

    secrets: tuple[str, ...] = Field(
        ("belief", "conduct", "taboo"), description="what is planted: belief, conduct, scheme, taboo"
    )
    steps: int = Field(600, description="optimizer steps of each target")
    batch: int = Field(6, description="stories a step")
    lr: float = Field(2e-3, description="peak AdamW learning rate (embeddings, norms)")
    muon_lr: float = Field(
        1e-2, description="peak Muon learning rate (2-D weights inside blocks); 0 uses AdamW for all"
    )
    warmup: int = Field(20, description="linear warm-up steps")
    freeze_embeddings: bool = Field(
        True, description="keep the base's embeddings: they are the frame in which the future bag writes facts"
    )
    bag_weight: float = Field(2.0, description="weight of the future-bag loss; 0 plants without it")
    bag_scale: float = Field(16.0, description="scale of its cosines, as in the base's training")
    bag_layer: int = Field(2, description="layer whose stream it reads, as in the base's training")
    documents: int = Field(150, description="held-out stories on which the targets are read")
    positions_per_doc: int = Field(12, description="candidate tokens per story; those where a secret shows are read")
    rows: int = Field(500, description="most tokens read, drawn evenly by seed")
    min_pos: int = Field(12, description="earliest token index read")
    told_rows: int = Field(24, description="rows a secret whose sampled continuations are checked")
    continuations: int = Field(8, description="sampled continuations per such row")
    seed: int = Field(0, description="seed of the planted values, the stories and the rows")
    save_every: int = Field(100, description="steps between resumable states")


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
    limit: Literal["none", "probes", "leverage"] = Field(
        "none",
        description="'probes': only claims that probes find in the activation; 'leverage': only claims whose deletion "
        "costs the reconstructor of `limit_by`",
    )
    limit_by: str | None = Field(None, description="checkpoint of an earlier run on this target (limit 'leverage')")
    least_leverage: float = Field(
        0.005, description="rise of direction_mse that deleting a claim must cost (limit 'leverage')"
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
    paraphrase: float = Field(
        0.0,
        description="share of the reconstructor's texts that each epoch puts in other words (needs a language)",
        ge=0,
        le=1,
    )
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
    space: Literal["direction", "whitened", "residual", "downstream"] = Field(
        "direction",
        description="where the error is measured: direction_mse; the same of whitened directions; as a share of the "
        "token lookup's; or the KL of the target's next token with the reconstruction patched in",
    )
    contrast: float = Field(
        0.0,
        description="reward per direction_mse by which the reconstruction is nearer to its activation than to others "
        "of its document",
        ge=0,
    )
    paraphrase: float = Field(
        0.0,
        description="share of the rollouts that the reconstructor also reads in other words of the language (needs "
        "one); such a rollout earns the mean of both",
        ge=0,
        le=1,
    )
    claim_credit: float = Field(
        0.0,
        description="advantage of a claim's own tokens per direction_mse that deleting the claim costs, above the "
        "mean of its group's claims",
        ge=0,
    )
    truth_reward: float = Field(
        0.0, description="reward per true context claim; wrong ones cost the prices below (needs a language)", ge=0
    )
    truth_credit: float = Field(
        0.0,
        description="advantage of a claim's own tokens per unit of what truth_reward pays for it, above the mean of "
        "its group's claims (needs a language)",
        ge=0,
    )
    false_price: float = Field(1.0, description="a false claim costs this many true ones", ge=0)
    open_price: float = Field(1.0, description="a claim that the text leaves open costs this many true ones", ge=0)
    unknown_price: float = Field(
        0.1, description="saying that something is unknown costs this many true claims; less than false_price", ge=0
    )
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


class PreferConfig(Section):
    """Offline preference training of the verbalizer on ranked explanations of its own; the reconstructor only ranks."""

    loss: Literal["dpo", "ipo", "kto", "orpo", "simpo", "alphadpo"] = Field(
        "dpo",
        description="dpo (arXiv 2305.18290), ipo (2310.12036), kto (2402.01306), orpo (2403.07691), "
        "simpo (2405.14734) or alphadpo (2410.10148)",
    )
    beta: float | None = Field(
        None,
        description="strength of the loss (ipo: its tau, orpo: its lambda); absent: 0.1, simpo 2, alphadpo 2.5",
        gt=0,
    )
    gamma: float = Field(1.0, description="target margin of the reward (simpo, alphadpo)")
    alpha: float = Field(0.2, description="weight of each pair's own margin (alphadpo); 0 is simpo")
    desirable_weight: float = Field(1.0, description="lambda_D, weight of the chosen explanations (kto)")
    undesirable_weight: float = Field(1.0, description="lambda_U, weight of the rejected explanations (kto)")
    steps: int = Field(100, description="optimizer steps; 0 only makes the pairs")
    batch: int = Field(32, description="pairs a step", ge=1)
    rows: int = Field(1500, description="activations that are explained for the pairs", ge=1)
    samples: int = Field(8, description="explanations sampled per activation", ge=2)
    temperature: float = Field(1.0, description="sampling temperature of the explanations", gt=0)
    max_tokens: int = Field(96, description="longest explanation")
    rank_by: Literal["mse", "truth", "both"] = Field(
        "mse",
        description="what makes an explanation better: a vector that comes back closer, more true and fewer wrong "
        "claims (needs a language), or neither worse and one better",
    )
    length_window: float = Field(
        0.1, description="the two lengths of a pair differ by at most this share of the longer one", ge=0, le=1
    )
    length_balance: float = Field(
        0.02,
        description="summed over all pairs, chosen and rejected differ in length by at most this share; 1 lets it be",
        ge=0,
        le=1,
    )
    verbalizer: OptimizerConfig = Field(
        OptimizerConfig(lr=1e-4, schedule="linear", warmup=5), description="verbalizer's optimizer"
    )
    evaluate_every: int = Field(20, description="steps between held-out measurements; the best is kept", ge=1)
    select_by: str = Field("context_fve", description="held-out (dev) measure that chooses the checkpoint")
    seed: int = Field(0, description="seed of rows, sampling and order")
    save_every: int = Field(20, description="steps between resumable states", ge=1)


class EvalConfig(Section):
    """Fresh held-out documents for the final report."""

    documents: int = Field(150, description="held-out documents")
    positions_per_doc: int = Field(4, description="tokens read per document")
    foresight_rows: int = Field(24, description="tokens with open facts whose continuations are sampled (world)")
    continuations: int = Field(16, description="sampled continuations per such token")
    probe_rows: int = Field(20000, description="rows that fit the probes behind `decodable`")
    max_tokens: int = Field(96, description="longest explanation")
    seed: int = Field(1, description="seed of documents and positions")


class TruthConfig(EvalConfig):
    """Fresh held-out documents for the truth of readings and of their probabilities (`legible truth`)."""

    documents: int = Field(160, description="held-out documents", ge=1)
    positions_per_doc: int = Field(4, description="tokens read per document", ge=1)
    samples: int = Field(5, description="explanations a reading; 1 is the single-pass mode", ge=1)
    temperature: float | None = Field(
        None, description="sampling temperature; absent: 0 for one sample, 1 for more", ge=0
    )


class CalibrateConfig(Section):
    """Fit the calibrator behind p_true on held-out documents whose truth is known."""

    documents: int = Field(120, description="documents read; no training and no evaluation uses them", ge=1)
    windows: int = Field(3, description="runs of neighbouring tokens read per document", ge=1)
    window: int = Field(3, description="tokens in a run: neighbours show what recurs", ge=1)
    samples: int = Field(5, description="explanations a token of the sampled calibrator; 1 leaves it out", ge=1)
    temperature: float = Field(1.0, description="sampling temperature of these", gt=0)
    max_tokens: int = Field(96, description="longest explanation")
    folds: int = Field(5, description="folds over documents behind the calibrator's own figures", ge=2)
    seed: int = Field(0, description="seed of documents, tokens and sampling")


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
    calibrate: CalibrateConfig = CalibrateConfig()
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
