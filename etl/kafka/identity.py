"""TLS and login of the clients: options for kafka-python and for librdkafka, and messages about them."""

import ssl
from collections.abc import Callable
from typing import Any

from kafka import errors as kafka_errors
from kafka.net.sasl.oauth import AbstractTokenProvider

from etl.errors import CredentialsError, EtlError, Unreachable
from etl.kafka.tokens import current_token
from etl.settings import KafkaSettings
from etl.tls import client_context

LOGIN_ERRORS = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
)
# The settings that may be wrong if a broker refuses the login.
_LOGIN = {
    "OAUTHBEARER": "ETL_KAFKA_OAUTH_CLIENT_ID, ETL_KAFKA_OAUTH_SCOPE",
    "AWS_MSK_IAM": "the AWS credentials, ETL_KAFKA_AWS_REGION",
}


class TokenError(kafka_errors.SaslAuthenticationFailedError):  # type: ignore[misc]
    """There is no token for a login; `told` is the error with the remedy."""

    def __init__(self, told: EtlError) -> None:
        """Keep the error."""
        super().__init__(str(told))
        self.told = told


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens for kafka-python, which asks for one at each login."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Take the settings of the token server."""
        self._settings = settings

    def token(self) -> str:
        """Return a valid token."""
        try:
            return current_token(self._settings).text
        except Unreachable as error:
            raise kafka_errors.KafkaConnectionError(str(error)) from error
        except EtlError as error:
            raise TokenError(error) from error


def tls(settings: KafkaSettings) -> ssl.SSLContext | None:
    """Return the TLS context, None if the connection is not encrypted.

    Raises:
        SettingsError: a file of certificates or keys cannot be used.
    """
    if not settings.encrypts:
        return None
    files = settings.ca_file, settings.certificate_file, settings.key_file
    return client_context("ETL_KAFKA_", *files, settings.key_password)


def python_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the options of TLS and login for kafka-python.

    Raises:
        SettingsError: as `tls`.
    """
    options: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.encrypts:
        options["ssl_context"] = tls(settings)
    if settings.uses_tokens:
        return options | {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": _Tokens(settings)}
    if settings.logs_in and settings.password:
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": settings.password.get_secret_value(),
        }
    return options


def rdkafka_options(settings: KafkaSettings, failures: list[Any]) -> dict[str, Any]:
    """Return the options of TLS and login for librdkafka; a failure to get a token is added to `failures`."""
    options: dict[str, Any] = {"security.protocol": settings.security_protocol}
    files = {
        # By itself librdkafka does not read SSL_CERT_FILE.
        "ssl.ca.location": settings.ca_file or ssl.get_default_verify_paths().cafile,
        "ssl.certificate.location": settings.certificate_file,
        "ssl.key.location": settings.key_file or settings.certificate_file,
    }
    if settings.encrypts:
        options |= {name: str(file) for name, file in files.items() if file}
        if settings.certificate_file and settings.key_password:
            options["ssl.key.password"] = settings.key_password.get_secret_value()
    if settings.uses_tokens:
        return options | {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": _token_callback(settings, failures)}
    if settings.logs_in and settings.password:
        options |= {
            "sasl.mechanism": settings.sasl_mechanism,
            "sasl.username": settings.username,
            "sasl.password": settings.password.get_secret_value(),
        }
    return options


def _token_callback(settings: KafkaSettings, failures: list[Any]) -> Callable[[str], tuple[str, float]]:
    def renewed(_: str) -> tuple[str, float]:
        try:
            token = current_token(settings)
        except EtlError as error:
            failures.append(error)
            raise
        return token.text, token.expires

    return renewed


def named(settings: KafkaSettings) -> str:
    """Return who logs in, for messages."""
    if settings.uses_tokens:
        return f"client {settings.oauth_client_id}" if settings.oauth_client_id else "the AWS identity"
    if settings.username and settings.logs_in:
        return f"user {settings.username}"
    if settings.certificate_file and settings.encrypts:
        return f"the owner of {settings.certificate_file}"
    return "an unauthenticated user"


def refusal(error: Exception, settings: KafkaSettings) -> EtlError:
    """Return the error that states the remedy for one of `LOGIN_ERRORS`."""
    if isinstance(error, TokenError):
        return error.told
    if not settings.logs_in or isinstance(error, kafka_errors.IllegalSaslStateError):
        return CredentialsError(
            f"Kafka at {settings.bootstrap_servers} does not take {settings.security_protocol} at this port:"
            " check ETL_KAFKA_SECURITY_PROTOCOL"
        )
    if isinstance(error, kafka_errors.UnsupportedSaslMechanismError):
        return CredentialsError(
            f"Kafka does not offer {settings.sasl_mechanism} at this port: check ETL_KAFKA_SASL_MECHANISM"
        )
    check = _LOGIN.get(settings.sasl_mechanism, "ETL_KAFKA_USERNAME, ETL_KAFKA_PASSWORD")
    return CredentialsError(
        f"Kafka refused {named(settings)}: check {check}, ETL_KAFKA_SASL_MECHANISM and ETL_KAFKA_SECURITY_PROTOCOL"
    )
