"""Batched generation: explanations from vectors, continuations from a target."""

from legible.engines.base import Completion, Engine, StopReason
from legible.engines.continuations import continue_text
from legible.engines.local import LocalEngine

__all__ = ["Completion", "Engine", "LocalEngine", "StopReason", "continue_text"]
