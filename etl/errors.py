"""The errors that end a stage, with their exit codes."""

DONE = 0
TERMINATED = 143


class EtlError(Exception):
    """An expected error with one clear line; any other exception is a defect."""

    exit_code = 1


class SettingsError(EtlError):
    """The operator must change something: a setting, a missing topic or table, a wrong credential."""

    exit_code = 2


class CredentialsError(SettingsError):
    """A service refuses user and password: they are wrong, or the user does not exist yet."""


class NothingNew(EtlError):  # noqa: N818 - an outcome, not a failure
    """There is no new record or no new load."""

    exit_code = 3


class Unreachable(EtlError):  # noqa: N818 - says what the service is
    """A service does not answer; the same command may succeed later."""

    exit_code = 4


class DeliveryError(EtlError):
    """The run does not balance, records were lost, or another run has interfered."""

    exit_code = 5
