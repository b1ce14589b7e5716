"""A real chat model on a laptop: labelled texts of its own, small readers over the target's weights."""

from legible.config import (
    AdapterConfig,
    CalibrateConfig,
    CaptureConfig,
    EvalConfig,
    OptimizerConfig,
    RLConfig,
    RunConfig,
    SFTConfig,
    TeachConfig,
    TextsConfig,
)
from legible.recipes.small import captured_for

LAYER = 24
TOKENS = 112  # longest explanation: of the teacher's, one in a hundred is longer
BLOCKS = (0, 1, 2, 27, 28, 29), (0, 1, 2, 22, 23, 24)
"""Of SmolLM2's 30 blocks, those that verbalizer and reconstructor keep."""


def laptop(seed: int = 0) -> RunConfig:
    """SmolLM2-135M-Instruct after block 24, on Wikipedia's summaries and its own chats; hours on 2 cores."""
    rate = OptimizerConfig(lr=2e-3, warmup=40)
    return RunConfig(
        recipe="laptop",
        target="smollm2",
        layer=LAYER,
        texts=TextsConfig(),
        train_documents=100_000,
        dev_documents=150,
        capture=CaptureConfig(
            layers=(LAYER,),
            positions_per_doc=3,
            min_pos=2,
            max_tokens=128,
            prompt_ends=True,
            batch_tokens=4096,
            shard_rows=2048,
            seed=seed,
            **captured_for("text"),  # type: ignore[arg-type]
        ),
        teach=TeachConfig(teacher="text", limit="probes", seed=seed),
        sft=SFTConfig(
            steps=800,
            batch_tokens=2048,
            verbalizer=rate,
            reconstructor=rate,
            adapter=AdapterConfig(rank=48, alpha=28.0, rslora=True),
            verbalizer_blocks=BLOCKS[0],
            reconstructor_blocks=BLOCKS[1],
            output_vocabulary="corpus",
            injection_map="affine",
            max_explanation_tokens=TOKENS,
            seed=seed,
        ),
        rl=RLConfig(
            steps=40,
            prompts=16,
            length_cost=2e-4,
            max_tokens=TOKENS,
            select_by="net_context_claims",
            verbalizer=OptimizerConfig(lr=1e-4, schedule="linear", warmup=5),
            reconstructor=OptimizerConfig(lr=2e-4, schedule="linear", warmup=5),
            seed=seed,
        ),
        calibrate=CalibrateConfig(documents=190, windows=2, window=2, max_tokens=TOKENS, seed=seed),
        evaluate=EvalConfig(documents=320, positions_per_doc=3, max_tokens=TOKENS, probe_rows=0),
        seed=seed,
    )
