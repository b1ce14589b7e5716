"""Typed run configuration: one section a stage, an unknown key is an error, saved beside every result.

The text under each field becomes its help. A recipe is a function that returns a `RunConfig`.
"""

from legible.config.base import Section, validated
from legible.config.data import CaptureConfig, TeachConfig, TextsConfig
from legible.config.instruments import USUAL, InstrumentConfig, SAEConfig
from legible.config.measuring import CalibrateConfig, EvalConfig, HeldOutConfig, TruthConfig
from legible.config.placement import AUTO, Placement
from legible.config.run import RunConfig, load_config, save_config
from legible.config.targets import PretrainConfig, SecretsConfig
from legible.config.training import AdapterConfig, OptimizerConfig, PreferConfig, RLConfig, SFTConfig

__all__ = [
    "AUTO",
    "USUAL",
    "AdapterConfig",
    "CalibrateConfig",
    "CaptureConfig",
    "EvalConfig",
    "HeldOutConfig",
    "InstrumentConfig",
    "OptimizerConfig",
    "Placement",
    "PreferConfig",
    "PretrainConfig",
    "RLConfig",
    "RunConfig",
    "SAEConfig",
    "SFTConfig",
    "SecretsConfig",
    "Section",
    "TeachConfig",
    "TextsConfig",
    "TruthConfig",
    "load_config",
    "save_config",
    "validated",
]
