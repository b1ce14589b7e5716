"""What an evaluation measures apart: families of claims each by itself, retrieval, and twins.

On for languages that say so (`Language.apart`), and where the configuration asks for it; what is off is not in the
report.
"""

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from legible.config import EvalConfig
from legible.config.measuring import RETRIEVAL_ROWS, TWINS
from legible.evaluate.bench import Bench
from legible.evaluate.claims import judge_texts
from legible.evaluate.controls import Controls, mean_direction
from legible.evaluate.families import family_report
from legible.evaluate.reconstruction import Explained, explain
from legible.evaluate.retrieval import retrieval
from legible.evaluate.twins import twins
from legible.languages.base import Claim, Row
from legible.reading.checkpoint import Checkpoint
from legible.reading.trusted import trusted_of


def measured_apart(
    checkpoint: Checkpoint,
    bench: Bench,
    explained: Explained,
    controls: Controls,
    config: EvalConfig,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """`families`, `retrieval` and `twins` of a report, those that are asked for.

    Args:
        checkpoint: what reads; its calibrator gives p_true.
        bench, explained, controls: the rows, their greedy readings with what the engine wrote, and the floors.
        config: what is measured, and the seed.
        progress: called with the name of each part as it begins.
    """
    usual = bench.language is not None and bench.language.apart
    rows = (RETRIEVAL_ROWS if usual else 0) if config.retrieval_rows is None else config.retrieval_rows
    pairs = (TWINS if usual else 0) if config.twins is None else config.twins
    report: dict[str, Any] = {}
    if bench.language is not None and (usual if config.families is None else config.families):
        progress("families")
        report["families"] = _families(checkpoint, bench, explained, controls, config)
    if rows:
        progress("retrieval")
        report["retrieval"] = retrieval(
            checkpoint.target, checkpoint.layer, bench.reconstructor, bench.sample, explained.texts,
            mean_direction(bench.lookup), language=bench.language, pool=bench.pool, rows=rows, seed=config.seed,
        )  # fmt: skip
    if (language := bench.language) is not None and pairs:
        progress("twins")

        def reads(vectors: Float[Tensor, "n d_model"], rows: Sequence[Row]) -> list[list[Claim]]:
            texts = explain(checkpoint.engine, vectors, max_tokens=config.max_tokens).texts
            return [language.parse(text).claims if text is not None else [] for text in texts]

        report["twins"] = twins(
            checkpoint.target, checkpoint.layer, bench.sample, bench.probes, language, reads,
            pairs=pairs, seed=config.seed,
        )  # fmt: skip
    return report


def _families(
    checkpoint: Checkpoint, bench: Bench, explained: Explained, controls: Controls, config: EvalConfig
) -> dict[str, Any]:
    language, sample = bench.language, bench.sample
    assert language is not None
    written = [[one] for one in explained.completions]
    trusted, _ = trusted_of(checkpoint, sample.vectors, sample.rows, written, samples=1, temperature=0.0)
    return family_report(
        trusted,
        sample,
        language,
        no_activation=judge_texts(controls.no_activation.texts, sample, language),
        text_only=judge_texts(bench.text_only, sample, language) if bench.text_only is not None else None,
        decodable=bench.decodable,
        probes=bench.probes,
        others=bench.pool.facts if bench.pool is not None else sample.facts,
        seed=config.seed,
    )
