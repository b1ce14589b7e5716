"""Any small causal LM and any texts, on a laptop CPU: what is read is the user's own model."""

from typing import Any

from legible import languages
from legible.config import (
    CalibrateConfig,
    CaptureConfig,
    EvalConfig,
    OptimizerConfig,
    RLConfig,
    RunConfig,
    SFTConfig,
    TeachConfig,
)

TOKENS = 112  # longest explanation: in a vocabulary of 512 tokens, one in two hundred of the text language's is longer


def captured_for(teacher: str) -> dict[str, Any]:
    """The capture settings without which a teacher's language leaves some of its kinds undecided."""
    return dict(languages.get(teacher).captured) if teacher in languages.names() else {}


def small(
    target: str | None = None,
    corpus: str | None = None,
    layer: int = 2,
    teacher: str = "text",
    seed: int = 0,
) -> RunConfig:
    """Capture a model's activations on a corpus and train a pair that reads them.

    Args:
        target: directory or hub name of a causal LM.
        corpus: file of documents, see `legible.documents.read_corpus`.
        layer: layer K that is read.
        teacher: `text` needs no other model; it reads the corpus's labels where there are any.
        seed: of every stage.
    """
    return RunConfig(
        recipe="small",
        target=target,
        corpus=corpus,
        layer=layer,
        train_documents=1500,
        dev_documents=60,
        capture=CaptureConfig(
            layers=(layer,),
            positions_per_doc=16,
            min_pos=24,
            sentence_end_share=0.2,
            max_tokens=256,
            seed=seed,
            **captured_for(teacher),
        ),
        teach=TeachConfig(teacher=teacher, limit="probes" if teacher in languages.names() else "none", seed=seed),
        sft=SFTConfig(
            steps=1500,
            verbalizer=OptimizerConfig(lr=1e-3, muon_lr=1e-2),
            reconstructor=OptimizerConfig(lr=1e-3, muon_lr=1e-2),
            max_explanation_tokens=TOKENS,
            seed=seed,
        ),
        rl=RLConfig(
            steps=60,
            prompts=24,
            length_cost=2e-4,
            max_tokens=TOKENS,
            verbalizer=OptimizerConfig(lr=2e-4, schedule="linear", warmup=5),
            reconstructor=OptimizerConfig(lr=5e-4, schedule="linear", warmup=5),
            seed=seed,
        ),
        calibrate=CalibrateConfig(max_tokens=TOKENS, seed=seed),
        evaluate=EvalConfig(documents=100, max_tokens=TOKENS),
        seed=seed,
    )
