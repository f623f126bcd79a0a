"""Errors that end a command of `python -m images`: the message says what to do, the class sets the exit code."""


class ServiceError(Exception):
    """A service, a cluster or an image is not there as it should be."""

    exit_code = 4


class PrerequisiteError(ServiceError):
    """A program, a file or a setting that this machine needs is missing or unsuitable."""

    exit_code = 2


class CommandError(ServiceError):
    """A program could not be run or failed; the message holds the command and the end of its output."""
