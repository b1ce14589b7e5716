"""A second reconstructor of a warm start: the same rows, start and steps under another seed.

It has never met the verbalizer's own words, only the teacher's, so a private code of the pair is lost on it.
"""

import json
from pathlib import Path

from legible.config import SFTConfig
from legible.data.store import Store
from legible.errors import UsageError
from legible.fileio import write_directory, write_json
from legible.languages.base import Language
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.prompts import plain_reconstructor_prompt
from legible.train.loop import Loop, fingerprint
from legible.train.sft import reconstructor_training
from legible.train.terms.paraphrase import check_rewording

ABOUT = "second.json"


def train_second_reconstructor(
    config: SFTConfig,
    target: Target,
    layer: int,
    store: Store,
    teach_file: Path,
    out: Path,
    *,
    language: Language | None = None,
) -> Reconstructor:
    """Train or resume the second reconstructor in `out`; a finished one is loaded.

    Args:
        config: the warm start's own; `steps` may be changed. The seed used is the next one.
        target, layer: what the pair reads.
        store, teach_file: the warm start's rows and the teacher's text for them.
        out: gets `second/`, `second.json` and `metrics.jsonl`.
        language: puts the texts in other words where the warm start did (`config.paraphrase`).

    Raises:
        UsageError: no taught rows, paraphrases without a language, or `out` holds another configuration's.
        TrainingError: only non-finite gradients, or a full disk.
    """
    config = config.model_copy(update={"seed": config.seed + 1})
    made_by = fingerprint("second reconstructor", config, layer, target.sha256(), len(store), teach_file.stat().st_size)
    if not (out / ABOUT).exists():
        check_rewording(config.paraphrase, language, "sft.paraphrase")
        training = reconstructor_training(config, target, layer, store, teach_file, language)
        state = out / "second.state.safetensors"
        Loop(
            "second reconstructor",
            config.steps,
            config.save_every,
            state,
            out / "metrics.jsonl",
            {"second": training.module},
            {"second": training.optimizer},
            made_by,
            {"role": "second"},
        ).run(training.step)
        write_directory(out / "second", training.module.save)
        write_json(out / ABOUT, {"steps": config.steps, "seed": config.seed, "made_by": made_by})
        state.unlink(missing_ok=True)
    found = json.loads((out / ABOUT).read_text(encoding="utf-8"))["made_by"]
    if found != made_by:
        raise UsageError(
            f"{out} holds a second reconstructor of another configuration ({found}, now {made_by}).\n"
            "  Use another --controls folder, or delete this one to train it anew."
        )
    return Reconstructor.load(out / "second", plain_reconstructor_prompt(target.tokenizer), device=str(target.device))
