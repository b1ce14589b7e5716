"""Anonymous memory of capture and SFT at two numbers of rows: it must not grow with the data.

Each figure is the peak of RssAnon of a process of its own, sampled every 20 ms; memory-mapped files do not count.
The floor is the same process before the work starts: Python, torch and the target's weights.

    python benchmarks/memory.py                 # 10 000 against 100 000 rows
    python benchmarks/memory.py --rows 1000 5000
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from legible.models.target import Target

BAR_MIB = 50.0
PER_DOCUMENT = 8
WORK = ("capture", "sft")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs=2, default=(10_000, 100_000), help="few and many rows")
    parser.add_argument("--steps", type=int, default=40, help="SFT steps of each role")
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        print(json.dumps(measured(args.work, args.rows[0], args.steps, args.out)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {work: [child(work, rows, args.steps, Path(folder) / str(rows)) for rows in args.rows] for work in WORK}

    few, many = args.rows
    print(f"{'':8} {'floor':>9} {few:>9} {many:>9} rows    growth (MiB; at most {BAR_MIB:.0f})")
    growth = {work: peaks[1]["peak"] - peaks[0]["peak"] for work, peaks in found.items()}
    for work, peaks in found.items():
        print(f"{work:8} {peaks[1]['floor']:9.1f} {peaks[0]['peak']:9.1f} {peaks[1]['peak']:9.1f} {growth[work]:13.1f}")
    from support.table import last_line

    last_line({"rows": args.rows, "mib": found, "growth_mib": growth, "bar_mib": BAR_MIB, "threads": 1})


def child(work: str, rows: int, steps: int, out: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--work", work, "--rows", str(rows), "0", "--steps", str(steps)]
    done = subprocess.run(
        [*command, "--out", str(out)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def measured(work: str, rows: int, steps: int, out: Path) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    task = capture_task(rows, out) if work == "capture" else sft_task(rows, steps, out)
    floor = resident_mib("RssAnon")
    with Peak() as peak:
        task()
    return {"floor": floor, "peak": peak.mib}


class Peak:
    """The largest RssAnon between entering and leaving."""

    def __enter__(self) -> "Peak":
        self.mib = resident_mib("RssAnon")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.mib = max(self.mib, resident_mib("RssAnon"))


def resident_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def capture_task(rows: int, out: Path) -> Callable[[], object]:
    from legible.config import CaptureConfig
    from legible.data.capture import capture
    from legible.documents import Document
    from legible.languages.world import story_document

    target = random_target()
    config = CaptureConfig(positions_per_doc=PER_DOCUMENT, min_pos=10, max_tokens=96)

    def documents() -> Iterator[Document]:
        return (story_document("train", 0, i) for i in range(rows // PER_DOCUMENT))

    return lambda: capture(target, documents(), config, out / "store")


def sft_task(rows: int, steps: int, out: Path) -> Callable[[], object]:
    from legible.config import SFTConfig
    from legible.data.store import Store
    from legible.train.sft import train_sft

    target = random_target()
    store = Store.open(out / "store")
    teach = out / "teach.jsonl"
    with teach.open("w", encoding="utf-8") as handle:
        for row in range(rows):
            handle.write(json.dumps({"row": row, "text": explanation(row), "claims": [], "reason": None}) + "\n")
    config = SFTConfig(steps=steps, save_every=steps)
    return lambda: train_sft(config, target, 2, store, teach, out / "sft", made_by="benchmark")


def explanation(row: int) -> str:
    """Some 45 words of the world, another for every row."""
    from legible.languages.world.tokenizer import words

    known = words()
    return " ".join(known[(row * 7919 + k * 31) % len(known)] for k in range(35 + row % 20))


def random_target() -> "Target":
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from legible.languages.world import build_tokenizer
    from legible.models.target import Target

    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    return Target(LlamaForCausalLM(config), tokenizer, "random")


if __name__ == "__main__":
    main()
