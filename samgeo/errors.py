"""Every exception and warning that samgeo raises.

    SamgeoError
    ├── UsageError (ValueError)            exit 2    an option or argument that cannot be right
    ├── RasterError (OSError)              exit 3    the input raster
    │   └── MissingCRSError
    ├── PromptError (ValueError)           exit 4    the prompts
    │   └── NoUsablePromptError
    ├── ModelError (RuntimeError)          exit 5    the model or its weights
    │   ├── UnknownModelError
    │   └── WeightsError
    ├── OutputError (OSError)              exit 6    what is written
    │   └── OutputExistsError
    ├── ResourceLimitError (MemoryError)   exit 7    a stated limit would be passed
    ├── UnsafeInputError                   exit 8    input that is not safe to open
    └── PartialResultError                 exit 10   what is done is kept, and it says what is not
    SamgeoWarning (UserWarning)

Each message names the file or prompt, what was found, what was expected, and the one command or option that fixes it.
"""

from __future__ import annotations


class SamgeoError(Exception):
    """Root of all errors that samgeo raises on purpose."""

    exit_code = 1


class UsageError(SamgeoError, ValueError):
    """An option or argument that cannot be right."""

    exit_code = 2


class RasterError(SamgeoError, OSError):
    """The input raster cannot be opened, read or placed on the map."""

    exit_code = 3


class MissingCRSError(RasterError):
    """A coordinate reference system is needed and there is none."""


class PromptError(SamgeoError, ValueError):
    """The prompts cannot be read, placed or used."""

    exit_code = 4


class NoUsablePromptError(PromptError):
    """There are prompts, and not one of them can be used."""

    def __init__(self, message: str, reasons: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.reasons = reasons
        """Why not, each reason once: `samgeo.prompts.placed.Refusal.reason`."""


class ModelError(SamgeoError, RuntimeError):
    """The model cannot be built or run."""

    exit_code = 5


class UnknownModelError(ModelError):
    """No model has this name and no file has this path."""


class WeightsError(ModelError):
    """The weights are missing, damaged, or those of another architecture."""


class OutputError(SamgeoError, OSError):
    """The output cannot be written, or what was written did not verify."""

    exit_code = 6


class OutputExistsError(OutputError):
    """The output is already there and replacing it was not permitted."""


class ResourceLimitError(SamgeoError, MemoryError):
    """A stated limit would be passed."""

    exit_code = 7


class UnsafeInputError(SamgeoError):
    """Input that is not safe to open."""

    exit_code = 8


class PartialResultError(SamgeoError):
    """Some tiles failed; what is done is kept for the next run, and nothing is written until the rest is done too."""

    exit_code = 10


class SamgeoWarning(UserWarning):
    """A result was produced, and there is something its user should know."""
