"""Answers of the API for the page's tests, with the words that a test wants in them."""

from typing import Any


def loaded(id_: str, *, chat: bool = False) -> dict[str, Any]:
    """A checkpoint whose every name is its id."""
    sizes = {"layer": 2, "n_layers": 4, "context": 99}
    has = {"chat": chat, "reconstructor": True, "calibrator": False}
    return {"id": id_, "name": id_, "target": id_, "language": id_, **sizes, **has}


def token(pos: int, text: str, start: int = 0) -> dict[str, Any]:
    """A token as the API describes it."""
    end = start + len(text)
    return {
        "pos": pos,
        "token": text,
        "token_id": 5 + pos,
        "start": start,
        "end": end,
        "special": False,
        "template": False,
    }


def reading(pos: int, text: str, **more: Any) -> dict[str, Any]:
    """A reading's frame with one claim."""
    claim = {
        "text": text,
        "p_true": 0.5,
        "agreement": None,
        "leverage": None,
        "recurrence": 1.0,
        "relation": text,
        "value": text,
        "polarity": "positive",
        "parsed": True,
    }
    return {
        "type": "reading",
        "pos": pos,
        "token": text,
        "token_id": 5,
        "layer": 2,
        "norm": 1.0,
        "flags": [],
        "explanation": text,
        "direction_mse": 0.1,
        "fve_token": 0.9,
        "claims": [claim],
        "trust": {"mean": 0.5, "min": 0.5},
        "unparsed": [],
        **more,
    }


def read_frames(words: list[str], **more: Any) -> list[dict[str, Any]]:
    """The stream of a reading whose tokens and explanations are the words."""
    tokens = [token(pos, word, 100 * pos) for pos, word in enumerate(words)]
    start = {
        "type": "start",
        "source": "builtin",
        "layer": 2,
        "total": len(words),
        "prompt_length": len(words),
        "text": "".join(words),
        "tokens": tokens,
    }
    return [
        start,
        *(reading(pos, word, **more) for pos, word in enumerate(words)),
        {"type": "end", "readings": len(words)},
    ]


def steered(words: str) -> dict[str, Any]:
    """What steering answers, every string the same words."""

    def one(strength: float, **more: Any) -> dict[str, Any]:
        said = [{"text": words, "tokens": 3, "nats": 1.0, "cut": True}]
        return {"strength": strength, "nats": 1.0 + strength, "cost": strength, "continuations": said, **more}

    return {
        "source": "builtin",
        "text": words,
        "pos": 0,
        "token": words,
        "layer": 2,
        "norm": 1.0,
        "mode": "later",
        "explanation": words,
        "edited": words + " more",
        "length": 0.5,
        "proposal": {"strength": 0.4, "reason": words, "read_back": 0.2, "fluent": 0.4},
        "untouched": one(0.0),
        "steered": [one(0.2, read=words, read_back=False), one(0.4, read=words, read_back=True)],
        "controls": {"random": [one(0.2), one(0.4)]},
        "unrelated": words,
    }


def evaluation(words: str = "a lexical code") -> dict[str, Any]:
    """Both reports of a checkpoint, small."""

    def value(x: float) -> dict[str, Any]:
        return {"value": x, "low": x - 0.05, "high": x + 0.05, "n": 600, "documents": 150}

    control = {
        "name": words,
        "fve": value(0.3),
        "context_fve": value(0.2),
        "difference": value(0.5),
        "context_precision": None,
        "retention": None,
        "rules_out": words,
        "note": "",
    }
    kind = {
        "claims": 10,
        "precision": 0.9,
        "context_claims": 5,
        "context_precision": 0.8,
        "decodable": 9,
        "recall": 0.7,
    }
    bins = [
        {
            "low": 0.1 * i,
            "high": 0.1 * i + 0.1,
            "p_true": 0.1 * i + 0.05,
            "precision": 0.1 * i,
            "precision_low": 0.1 * i,
            "precision_high": 0.1 * i + 0.05,
            "claims": 30,
        }
        for i in range(10)
    ]
    return {
        "source": "builtin",
        "evaluation": {
            "fve": value(0.85),
            "context_fve": value(0.88),
            "floors": {"constant": -0.6},
            "references": {"teacher_text": 0.85},
            "claims": {"context_precision": value(0.9), "kinds": {words: kind}},
            "controls": [control],
            "parse_failures": 0,
            "rows": 600,
            "seed": 1,
            "commit": "0" * 40,
            "rl": {
                "best_step": 20,
                "measured": [
                    {"step": 0, "fve": 0.8, "context_fve": 0.85},
                    {"step": 20, "fve": 0.82, "context_fve": 0.88},
                ],
            },
        },
        "truth": {
            "precision_at_half_coverage": 0.97,
            "threshold_at_half_coverage": 0.9,
            "ece": 0.03,
            "brier_skill": 0.3,
            "auroc": 0.9,
            "context_precision": 0.9,
            "recall": 0.8,
            "intervals": {"ece": value(0.1)},
            "reasons": {"foresight": words},
            "reliability": bins,
            "curve": [
                {"threshold": 0.1 * i, "precision": 0.9 + 0.01 * i, "coverage": 1 - 0.1 * i, "claims": 9}
                for i in range(10)
            ],
            "kinds": {words: {**kind, "mean_p_true": 0.8, "ece": None}},
            "rows": 600,
            "documents": 150,
            "samples": 1,
            "verdicts": "world",
            "seed": 1,
            "commit": "0" * 40,
        },
    }
