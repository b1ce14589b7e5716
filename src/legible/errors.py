"""Every deliberate error of Legible on one screen.

The command line turns `UsageError` (the caller can mend it) into exit code 2 and every other
`LegibleError` (the work failed) into exit code 1; neither prints a traceback. A message says what was
found, what was expected, the usual cause and the next command.
"""


class LegibleError(Exception):
    """Root of every error that Legible raises on purpose."""


class UsageError(LegibleError, ValueError):
    """Bad input: an argument, file, configuration or checkpoint that the caller can mend. Exit code 2."""


class ConfigError(UsageError):
    """A run configuration with an unknown key or an impossible value."""


class ContractError(UsageError):
    """A dataset or checkpoint that breaks its own promise, or was made for another model."""


class InjectionError(UsageError):
    """A prompt that does not have exactly one place for its vector."""


class UnsupportedModelError(UsageError):
    """A model whose structure Legible cannot read or that fails its self-check at load."""


class NotEnoughMemoryError(UsageError):
    """Work that would need more memory than is free; raised before it begins, with settings that fit."""


class StoreError(LegibleError):
    """An activation store that is damaged, truncated or not what its manifest says."""


class ArchiveError(LegibleError):
    """An archive of readings that cannot be used: damaged, locked, or no room to write it."""


class TeacherError(LegibleError):
    """A teacher that failed for good, after its retries."""


class TrainingError(LegibleError):
    """A training that cannot continue: no signal, or only non-finite gradients."""
