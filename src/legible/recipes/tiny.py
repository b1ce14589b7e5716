"""The whole loop on the built-in world, from random weights, on a laptop CPU."""

from legible.config import (
    CalibrateConfig,
    CaptureConfig,
    EvalConfig,
    OptimizerConfig,
    PretrainConfig,
    RLConfig,
    RunConfig,
    SFTConfig,
    TeachConfig,
)

LAYER = 2


def tiny(seed: int = 0) -> RunConfig:
    """A 0.9M-parameter target of the world, its verbalizer and its reconstructor; minutes on 2 cores."""
    return RunConfig(
        recipe="tiny",
        layer=LAYER,
        train_documents=4000,
        short_documents=1500,
        dev_documents=120,
        pretrain=PretrainConfig(bag_layer=LAYER, seed=seed),
        capture=CaptureConfig(layers=(LAYER,), min_pos=1, sentence_end_share=0.3, max_tokens=288, seed=seed),
        teach=TeachConfig(teacher="world", limit="probes", seed=seed),
        sft=SFTConfig(
            steps=1000,
            verbalizer=OptimizerConfig(lr=2e-3, muon_lr=1e-2),
            reconstructor=OptimizerConfig(lr=2e-3, muon_lr=1e-2),
            seed=seed,
        ),
        rl=RLConfig(
            steps=60,
            prompts=24,
            verbalizer=OptimizerConfig(lr=2e-4, schedule="linear", warmup=5),
            reconstructor=OptimizerConfig(lr=5e-4, schedule="linear", warmup=5),
            contrast=0.5,
            truth_reward=0.03,
            truth_credit=0.03,
            false_price=2.0,
            open_price=2.0,
            seed=seed,
        ),
        calibrate=CalibrateConfig(seed=seed),
        evaluate=EvalConfig(),
        seed=seed,
    )
