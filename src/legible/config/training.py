"""Sections of training the pair: warm start, joint training by RL, and offline preference training."""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from legible.config.base import Section


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
    batch_tokens: int = Field(2048, description="padded tokens per step; rows are grouped by length")
    verbalizer: OptimizerConfig = Field(OptimizerConfig(), description="verbalizer's optimizer")
    reconstructor: OptimizerConfig = Field(OptimizerConfig(), description="reconstructor's optimizer")
    adapter: AdapterConfig | None = Field(None, description="LoRA for both roles; absent is full fine-tuning")
    verbalizer_blocks: tuple[int, ...] | None = Field(
        None, description="the target's blocks that a small verbalizer keeps, e.g. 0,1,2,27,28,29; absent: all"
    )
    reconstructor_blocks: tuple[int, ...] | None = Field(
        None, description="the target's blocks that a small reconstructor keeps; absent: 0 to K"
    )
    output_vocabulary: Literal["all", "corpus"] = Field(
        "all", description="what the verbalizer can write: any token, or those of the teacher's text and any byte"
    )
    injection_map: Literal["none", "affine"] = Field(
        "none", description="a learned map applied to the vector before it is injected; affine starts as the identity"
    )
    paraphrase: float = Field(
        0.0,
        description="share of the reconstructor's texts that each epoch rewrites in other words (needs a language)",
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

    @field_validator("verbalizer_blocks", "reconstructor_blocks", mode="before")
    @classmethod
    def _one(cls, blocks: Any) -> Any:
        return (blocks,) if isinstance(blocks, int) else blocks  # as one number on the command line comes

    @field_validator("verbalizer_blocks", "reconstructor_blocks")
    @classmethod
    def _ascending(cls, blocks: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if blocks is not None and (not blocks or blocks[0] < 0 or list(blocks) != sorted(set(blocks))):
            raise ValueError("expected block numbers from 0, each once, in ascending order")
        return blocks


class RLConfig(Section):
    """Joint training by GRPO on how well the vector comes back."""

    later: ClassVar[tuple[str, ...]] = ("error_weight",)

    steps: int = Field(100, description="RL steps; 0 skips the stage")
    prompts: int = Field(32, description="activations per step")
    group: int = Field(8, description="sampled explanations per activation (GRPO group)")
    temperature: float = Field(1.0, description="sampling temperature of the rollouts")
    max_tokens: int = Field(96, description="longest rollout")
    reward: Literal["neg_mse", "log_mse"] = Field("neg_mse", description="-direction_mse, or its negative log")
    space: Literal["direction", "whitened", "residual", "downstream"] = Field(
        "direction",
        description="where the error is measured: direction_mse; the same of whitened directions; as a share of the "
        "token lookup's; or the KL of the target's next token with the reconstruction patched in",
    )
    error_weight: float = Field(
        1.0, description="weight of that error in the reward; 0 leaves the reward to the options below", ge=0
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
    parse_penalty: float = Field(2.0, description="a failed parse gets minus this as its reward")
    reconstructor_weight: float = Field(
        1.0, description="the reconstructor regresses on the same rollouts; 0 freezes it"
    )
    terms: dict[str, float] = Field({}, description="weights of reward terms that have no separate option")
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
    """Offline preference training of the verbalizer on its ranked explanations; the reconstructor only ranks."""

    loss: Literal["dpo", "ipo", "kto", "orpo", "simpo", "alphadpo", "sft"] = Field(
        "dpo",
        description="dpo (arXiv 2305.18290), ipo (2310.12036), kto (2402.01306), orpo (2403.07691), "
        "simpo (2405.14734), alphadpo (2410.10148), or sft on the chosen alone (expert iteration, 2308.01825)",
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
    batch: int = Field(32, description="pairs per step", ge=1)
    rows: int = Field(1500, description="activations that are explained for the pairs", ge=1)
    samples: int = Field(8, description="explanations sampled per activation", ge=2)
    temperature: float = Field(1.0, description="sampling temperature of the explanations", gt=0)
    max_tokens: int = Field(96, description="longest explanation")
    rank_by: Literal["mse", "truth", "both"] = Field(
        "mse",
        description="what makes an explanation better: a closer reconstruction, more true and fewer wrong "
        "claims (needs a language), or neither worse and one better",
    )
    length_window: float = Field(
        0.1, description="the two lengths of a pair differ by at most this share of the longer one", ge=0, le=1
    )
    length_balance: float = Field(
        0.02,
        description="summed over all pairs, chosen and rejected differ in length by at most this share; 1 is no limit",
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
