"""The memory estimates behind the checks, against measured peaks.

Every row is a process of its own: its peak of RssAnon over what it held before the work (after a load also RssFile,
since weights in their stored format stay mapped files), beside what the check had counted on. A check that counts too
little lets work die; one that counts far too much refuses what would have run.
Quantized rows need bitsandbytes and are left out without it.

    python benchmarks/placement.py
    python benchmarks/placement.py --width 768 --blocks 12
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from memory import Peak, explanation, resident_mib

if TYPE_CHECKING:
    from legible.models.target import Target

VOCABULARY = 16_000
ROWS = 256
LAYER = 2
LOW, HIGH = 0.4, 1.1  # measured over estimated
CASES = ("load float32", "load bfloat16", "load 8bit", "load 4bit", "capture", "write", "sft", "sft adapter", "rl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=512, help="of the random target's stream")
    parser.add_argument("--blocks", type=int, default=8, help="of the random target")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measured(args.case, args.out)))
        return
    wanted = [case for case in CASES if find_spec("bitsandbytes") or not case.endswith("bit")]
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), args.width, args.blocks)
        found = {case: child(case, Path(folder)) for case in wanted}
    print(f"{'':14} {'estimated':>10} {'measured':>10} MiB   measured / estimated (bar {LOW} to {HIGH})")
    for case, row in found.items():
        row["ratio"] = row["measured"] / row["estimated"]
        print(f"{case:14} {row['estimated']:10.0f} {row['measured']:10.0f} {row['ratio']:10.2f}")
    from support.table import last_line

    last_line({"mib": found, "bar": [LOW, HIGH], "width": args.width, "blocks": args.blocks, "threads": 1})


def child(case: str, out: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--case", case, "--out", str(out)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def prepare(folder: Path, width: int, blocks: int) -> None:
    """A random target, its activations on stories, and a text for each of them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from legible.config import CaptureConfig
    from legible.data.capture import capture
    from legible.languages.world import build_tokenizer, story_document
    from legible.models.target import Target

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=width * 11 // 4 // 16 * 16,
        num_hidden_layers=blocks, num_attention_heads=width // 64, max_position_embeddings=256,
        tie_word_embeddings=False,
    )  # fmt: skip
    tokenizer = build_tokenizer()
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder / "target")
    tokenizer.save_pretrained(folder / "target")
    stories = [story_document("train", 0, index) for index in range(ROWS // 8)]
    settings = CaptureConfig(layers=(LAYER,), positions_per_doc=8, min_pos=10, max_tokens=96)
    store = capture(Target(model, tokenizer, "random"), stories, settings, folder / "store")
    with (folder / "teach.jsonl").open("w", encoding="utf-8") as handle:
        for row in range(len(store)):
            handle.write(json.dumps({"row": row, "text": explanation(row), "claims": [], "reason": None}) + "\n")


def measured(case: str, out: Path) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    kind, _, how = case.partition(" ")
    estimated, task = {"load": load_task, "capture": capture_task, "write": write_task, "sft": sft_task, "rl": rl_task}[
        kind
    ](how, out)
    floor, files = resident_mib("RssAnon"), resident_mib("RssFile")
    with Peak() as peak:
        kept = task()
    mapped = resident_mib("RssFile") - files if kind == "load" else 0.0  # weights as stored stay mapped files
    del kept
    return {"estimated": estimated / 2**20, "measured": peak.mib - floor + mapped}


def load_task(how: str, out: Path) -> tuple[int, Callable[[], object]]:
    from legible.config import Placement
    from legible.models import memory
    from legible.models.target import Target

    if how.endswith("bit"):
        import bitsandbytes  # noqa: F401  the library itself is no part of the model

        place = Placement(device="cpu", dtype="bfloat16", quantize=how)
    else:
        place = Placement(device="cpu", dtype=how)
    Target.load(
        str(Path(__file__).parents[1] / "src" / "legible" / "builtin" / "target")
    ).sha256()  # warm: imports, pools

    def load() -> object:
        target = Target.load(str(out / "target"), place=place)
        target.sha256()
        return target

    return memory.loading_bytes([str(out / "target")], place), load


def target_of(out: Path) -> "Target":
    from legible.config import Placement
    from legible.models.target import Target

    return Target.load(str(out / "target"), place=Placement(device="cpu", dtype="float32"))


def capture_task(_how: str, out: Path) -> tuple[int, Callable[[], object]]:
    from legible.config import CaptureConfig
    from legible.data.capture import capture
    from legible.languages.world import story_document
    from legible.recipes.stages.rows import Capture

    target = target_of(out)
    config = CaptureConfig(layers=(LAYER,), positions_per_doc=8, min_pos=10, max_tokens=128)
    stories = [story_document("train", 1, index) for index in range(400)]
    return Capture(target, stories, config).bytes(config.batch_tokens), lambda: capture(
        target, stories, config, out / "again"
    )


def write_task(_how: str, out: Path) -> tuple[int, Callable[[], object]]:
    import torch

    from legible.engines import make_engine
    from legible.injection import Injection
    from legible.models.memory import Size
    from legible.models.verbalizer import Verbalizer

    verbalizer = Verbalizer.from_target(target_of(out), Injection())
    length, rows = 96, 256
    vectors = torch.randn(rows, verbalizer.arch.d_model)
    engine = make_engine(verbalizer)
    engine.generate(vectors[:2], max_tokens=4)
    needed = Size.of(verbalizer.model).cache(rows, len(verbalizer.prompt.ids) + length)
    return needed, lambda: engine.generate(vectors, samples=1, temperature=1.0, max_tokens=length)


def sft_task(how: str, out: Path) -> tuple[int, Callable[[], object]]:
    from legible.config import AdapterConfig, SFTConfig
    from legible.data.store import Store
    from legible.train.needs import sft_bytes
    from legible.train.sft import train_sft

    target, store = target_of(out), Store.open(out / "store")
    config = SFTConfig(steps=4, save_every=4, adapter=AdapterConfig() if how else None)
    given = (config, target, LAYER, store, out / "teach.jsonl", out / f"sft{how}")
    return sft_bytes(config, target, LAYER), lambda: train_sft(*given, made_by="benchmark")


def rl_task(_how: str, out: Path) -> tuple[int, Callable[[], object]]:
    from support.unstopped import Unstopped

    from legible.config import RLConfig
    from legible.data.store import Store
    from legible.injection import Injection
    from legible.models.reconstructor import Reconstructor
    from legible.models.verbalizer import Verbalizer
    from legible.train.joint import MICRO_TOKENS
    from legible.train.needs import update_bytes
    from legible.train.rl import train_rl

    target, store = target_of(out), Store.open(out / "store")
    verbalizer, reconstructor = Verbalizer.from_target(target, Injection()), Reconstructor.from_target(target, LAYER)
    config = RLConfig(steps=2, save_every=2, prompts=8, group=4, max_tokens=48, evaluate_every=2, select_by="none")
    needed = update_bytes(verbalizer, [verbalizer, reconstructor], True, 32, config.max_tokens, MICRO_TOKENS)
    given = (config, verbalizer, reconstructor, LAYER, store, lambda engine, role: {"none": 0.0}, out / "rl")
    (out / "rl").mkdir()
    return needed, lambda: train_rl(*given, made_by="benchmark", engine=Unstopped(verbalizer))


if __name__ == "__main__":
    main()
