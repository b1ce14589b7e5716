"""Capture a model's activations on a few stories and hand them to other tools as Parquet.

python examples/capture_and_export.py MODEL OUT
"""

import sys
from pathlib import Path

import legible
from legible.config import CaptureConfig
from legible.data.capture import capture
from legible.data.exchange import export_parquet
from legible.languages.world import story_document


def main(model: str, out: str) -> None:
    target = legible.Target.load(model)
    documents = [story_document("train", seed=0, index=index) for index in range(8)]
    store = capture(target, documents, CaptureConfig(layers=(1,), min_pos=12), Path(out) / "store")
    export_parquet(store, 1, Path(out) / "activations.parquet")
    print(f"{len(store)} activations of width {store.d_model}, V = {store.variance(1)['value']:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
