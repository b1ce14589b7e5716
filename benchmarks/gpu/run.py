"""Capture, warm start, joint training and reading of an 8B-shaped model on one NVIDIA card of 80 GB or more.

The weights are random, in bfloat16, and lie on the card once: verbalizer and reconstructor are adapters over them. Each
part warms up before its clock starts. At most 8 minutes together. On any machine the same command runs with another
shape, which shows that only the hardware is missing.

    python benchmarks/gpu/run.py --out DIR
    python benchmarks/gpu/run.py --out DIR --shape tiny --device cpu

Leaves DIR/result.json and prints it as the last line: the device's name, versions, tokens per second and peak memory of
every part.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from memory import Peak

from gpu.parts import SCALES, Parts, random_target
from legible.config import Placement
from legible.fileio import write_json
from legible.models.placement import circumstances, device_of
from legible.recipes.record import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="new folder for the activations and result.json")
    parser.add_argument("--shape", choices=SCALES, default="8b", help="of the random target")
    parser.add_argument("--device", default="auto", help="as the verbs take it")
    args = parser.parse_args()
    if args.out.exists() and any(args.out.iterdir()):
        parser.error(f"{args.out} is not empty")
    args.out.mkdir(parents=True, exist_ok=True)
    device = device_of(Placement(device=args.device))
    if args.shape == "8b" and device.type != "cuda":
        parser.error("the shape 8b needs an NVIDIA card; elsewhere: --shape tiny")
    began = time.perf_counter()
    scale = SCALES[args.shape]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    target = random_target(scale, device, dtype)
    parameters = sum(parameter.numel() for parameter in target.model.parameters())
    parts = Parts(target, scale, args.out)
    found: dict[str, Any] = {}
    for name in ("capture", "warm_start", "joint", "reading"):
        found[name] = timed(name, parts, device)
        print(f"{name:11} {found[name]['tokens_per_s']:10.1f} tokens/s  peak {found[name]['peak_gib']:6.2f} GiB")
    result = {
        "kind": "legible_gpu", "shape": args.shape, "parameters": parameters, **circumstances(target.model),
        "parts": found, "seconds": round(time.perf_counter() - began, 1), "machine": machine(),
        "cuda": torch.version.cuda,
    }  # fmt: skip
    write_json(args.out / "result.json", result)
    print(json.dumps(result))


def timed(name: str, parts: Parts, device: torch.device) -> dict[str, float]:
    """Tokens, seconds and the highest memory of a part; preparing and warming up are in the memory, not in the time."""
    on_card = device.type == "cuda"
    if on_card:
        torch.cuda.reset_peak_memory_stats(device)
    with Peak() as host:
        work = getattr(parts, name)()
        settle(device)
        start = time.perf_counter()
        tokens = work()
        settle(device)
        seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if on_card else host.mib / 1024
    if on_card:
        torch.cuda.empty_cache()
    return {"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds, "peak_gib": peak}


def settle(device: torch.device) -> None:
    """Wait for the card."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
