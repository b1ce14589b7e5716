"""Whole runs as functions that return a configuration, and the functions that carry them out.

A recipe decides every number; `resolve` finds one by name and applies the few changes a user asks for.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from legible import languages
from legible.config import RunConfig, load_config, validated
from legible.errors import ConfigError, UsageError
from legible.names import did_you_mean
from legible.recipes.laptop import laptop
from legible.recipes.small import captured_for, small
from legible.recipes.tiny import tiny

RECIPES: dict[str, Callable[..., RunConfig]] = {"tiny": tiny, "laptop": laptop, "small": small}

__all__ = ["RECIPES", "laptop", "parse_value", "resolve", "small", "tiny"]


def resolve(
    recipe: str,
    *,
    target: str | None = None,
    corpus: str | None = None,
    layer: int | None = None,
    teacher: str | None = None,
    seed: int | None = None,
    settings: Sequence[str] = (),
) -> RunConfig:
    """The configuration of a run.

    Args:
        recipe: a recipe's name, or the path of a saved config.json.
        target: reads this model instead of the recipe's.
        corpus: captures these documents instead of the recipe's.
        layer: reads this layer K; the capture and the future bag follow.
        teacher: who writes the warm-start text in place of the recipe's; what its language needs is captured, what the
            former one's needed is not, and one without a language is not limited by probes.
        seed: replaces the seed of every stage.
        settings: `section.key=value`, applied last.

    Raises:
        UsageError: no recipe of that name.
        ConfigError: an unknown key or a value that does not fit.
    """
    if recipe in RECIPES:
        config = RECIPES[recipe]()
    elif Path(recipe).is_file():
        config = load_config(Path(recipe))
    else:
        raise UsageError(
            f"no recipe {recipe!r}: expected {', '.join(RECIPES)}, or the path of a saved config.json."
            f"{did_you_mean(recipe, RECIPES)}\n"
            "  See legible train --help"
        )
    tree = config.model_dump()
    changes = {"target": target, "corpus": corpus, "layer": layer}
    for key, value in changes.items():
        if value is not None:
            _set(tree, key, value)
    if corpus is not None:
        tree.pop("texts", None)
    if teacher is not None:
        _taught_by(tree, teacher)
    if layer is not None:
        tree["capture"]["layers"] = [layer]
        tree["pretrain"]["bag_layer"] = layer
    if seed is not None:
        _seed(tree, seed)
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting!r} has no value: expected KEY=VALUE, e.g. --set rl.steps=50")
        _set(tree, key, parse_value(text))
    return _consistent(validated(RunConfig, tree))


def parse_value(text: str) -> Any:
    """`3`, `0.1`, `true`, `null` as JSON; `1,2` as a list; anything else as the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        parts = text.split(",")
        return [parse_value(part) for part in parts] if len(parts) > 1 else text


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    branch = tree
    for parent in parents:
        if branch.get(parent) is None:
            branch[parent] = {}  # an absent section (an adapter); an unknown one fails at validation
        if not isinstance(branch[parent], dict):
            raise ConfigError(f"--set {key}: {parent!r} is a value, not a section.")
        branch = branch[parent]
    branch[leaf] = value


def _taught_by(tree: dict[str, Any], teacher: str) -> None:
    former = captured_for(tree["teach"]["teacher"])
    tree["capture"] = {key: value for key, value in tree["capture"].items() if key not in former}
    tree["capture"] |= captured_for(teacher)
    tree["teach"]["teacher"] = teacher
    if teacher not in languages.names() and tree["teach"]["limit"] == "probes":
        tree["teach"]["limit"] = "none"


def _seed(tree: dict[str, Any], seed: int) -> None:
    tree["seed"] = seed
    for section in ("pretrain", "capture", "teach", "sft", "rl", "calibrate"):
        tree[section]["seed"] = seed


def _consistent(config: RunConfig) -> RunConfig:
    if config.layer not in config.capture.layers:
        raise ConfigError(
            f"layer {config.layer} is read but capture.layers is {list(config.capture.layers)}.\n"
            "  Give --layer, which sets both, or add the layer to capture.layers."
        )
    if config.target is None and not 0 <= config.layer < config.pretrain.n_layers:
        raise ConfigError(
            f"layer {config.layer} is out of range: the target has layers 0 to {config.pretrain.n_layers - 1}.\n"
            "  Choose another --layer."
        )
    teacher = config.teach.teacher
    if (config.corpus or config.texts) is not None and teacher in languages.names() and languages.get(teacher).bounded:
        raise ConfigError(
            f"the {teacher}'s teacher knows only the {teacher}'s stories, and a corpus was given.\n"
            "  Choose another: --teacher text needs no other model."
        )
    if config.recipe == "small" and (config.target is None or config.corpus is None):
        raise ConfigError(
            "the recipe small reads a model and texts of yours: give --target and --corpus.\n"
            "  legible train small --target MODEL --corpus texts.jsonl --layer 2 --teacher text --out runs/mine"
        )
    return config
