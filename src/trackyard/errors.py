"""The errors trackyard raises: what failed with its value, why it matters, and the command that fixes it.

Library code raises; only the CLI prints. Every class carries the exit code of design section 6.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_STOPPED_EARLY = 75


class TrackyardError(Exception):
    """A failure with three parts. Base of all errors that a user can act on."""

    exit_code = EXIT_FAILED

    def __init__(self, *, what: str, why: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return f"what: {self.what}\nwhy:  {self.why}\nfix:  {self.fix}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only arguments do not cross process boundaries without this.
        return _blank, (type(self), self.what), vars(self)


def _blank(cls: type[TrackyardError], what: str) -> TrackyardError:
    """One whose attributes are set afterwards."""
    return cls.__new__(cls, what)


class ConfigError(TrackyardError):
    """Wrong usage or configuration."""

    exit_code = EXIT_USAGE


class EnvironmentLacking(TrackyardError):
    """The machine or the checkout lacks something the command needs."""

    exit_code = EXIT_ENVIRONMENT


class DataError(TrackyardError):
    """Bytes on disk are missing, damaged or not what their manifest says."""


class CheckpointError(TrackyardError):
    """A checkpoint could not be written, or is not safe to load."""


class IdentityError(TrackyardError):
    """A run, plan or model is not the one it is claimed to be."""

    exit_code = EXIT_USAGE


class StoppedEarly(TrackyardError):
    """A signal asked the run to stop; a complete checkpoint was saved and the same command continues."""

    exit_code = EXIT_STOPPED_EARLY


class CutOff(TrackyardError):
    """A signal asked the run to stop, and nothing was saved yet. number: the signal's.

    The exit code is that of a program which the signal killed, 128 + number: 75 would promise a checkpoint.
    """

    def __init__(self, *, what: str, why: str, fix: str, number: int) -> None:
        super().__init__(what=what, why=why, fix=fix)
        self.exit_code = 128 + number
