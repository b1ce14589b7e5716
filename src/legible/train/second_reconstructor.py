"""A second reconstructor of a warm start: the same rows, start and steps under another seed.

It has never met the verbalizer's own words, only the teacher's, so a private code of the pair is lost on it.
"""

from pathlib import Path

from legible.config import SFTConfig
from legible.data.store import Store
from legible.fileio import write_directory
from legible.languages.base import Language
from legible.models.target import Target
from legible.train.loop import run_role
from legible.train.sft import reconstructor_training
from legible.train.terms.paraphrase import check_rewording


def train_second_reconstructor(
    config: SFTConfig,
    target: Target,
    layer: int,
    store: Store,
    teach_file: Path,
    out: Path,
    *,
    made_by: str,
    language: Language | None = None,
) -> None:
    """Train the second reconstructor; unfinished work in `out` resumes from its last state, which stays there.

    Args:
        config: the warm start's own; `steps` may be changed. The seed used is the next one.
        target, layer: what the pair reads.
        store, teach_file: the warm start's rows and the teacher's text for them.
        out: gets `second/` and `metrics.jsonl`; its caller has claimed it.
        made_by: digest of all of these; a state is resumed only under the same one.
        language: puts the texts in other words where the warm start did (`config.paraphrase`).

    Raises:
        UsageError: no taught rows, or paraphrases without a language.
        TrainingError: only non-finite gradients, or a full disk.
    """
    config = config.model_copy(update={"seed": config.seed + 1})
    check_rewording(config.paraphrase, language, "sft.paraphrase")
    training = reconstructor_training(config, target, layer, store, teach_file, language)
    role = (training.module, training.optimizer, training.step)
    run_role("second", "second reconstructor", config, out, made_by, *role)
    write_directory(out / "second", training.module.save)
