"""TLS of a client: the authorities that it trusts, and its own certificate."""

import ssl
from _ssl import _test_decode_cert  # type: ignore[attr-defined]  # nothing public returns the dates of a file
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from etl.errors import SettingsError


def client_context(
    prefix: str,
    ca_file: Path | None,
    certificate_file: Path | None = None,
    key_file: Path | None = None,
    key_password: SecretStr | None = None,
) -> ssl.SSLContext:
    """Return the TLS context of a client; without a CA file it trusts the authorities of the system.

    Args:
        prefix: prefix of the settings in messages, such as `ETL_KAFKA_`.
        ca_file: PEM file of authorities.
        certificate_file: PEM file of the client's certificate, perhaps with intermediate ones and its key.
        key_file: PEM file of its key; default: the file of the certificate.
        key_password: password of the key.

    Raises:
        SettingsError: a file cannot be used, the certificate is not valid at this time, or is not that of the key.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError as error:
        raise SettingsError(f"{prefix}CA_FILE: {ca_file} cannot be used ({error})") from error
    if certificate_file:
        _check_dates(prefix, certificate_file)
        _load(context, prefix, certificate_file, key_file or certificate_file, key_password)
    return context


def is_about_client(error: ssl.SSLError) -> bool:
    """Return whether the server's alert is about the certificate of the client."""
    reason = error.reason or ""
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _check_dates(prefix: str, file: Path) -> None:
    """A server that refuses a certificate rarely says that its time is over."""
    try:
        file.read_bytes()
        found = _test_decode_cert(str(file))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{prefix}CERTIFICATE_FILE: {file} cannot be used ({error})") from error
    begin, end = (
        datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found[name])), UTC) for name in ("notBefore", "notAfter")
    )
    if not begin <= datetime.now(UTC) < end:
        raise SettingsError(
            f"{prefix}CERTIFICATE_FILE: the certificate in {file} is valid from {begin:%Y-%m-%d %H:%M} to"
            f" {end:%Y-%m-%d %H:%M} UTC only: renew it"
        )


def _load(context: ssl.SSLContext, prefix: str, certificate: Path, key: Path, password: SecretStr | None) -> None:
    # Without a password, OpenSSL would ask for one at the terminal.
    secret = password.get_secret_value() if password else ""
    try:
        context.load_cert_chain(certificate, key, secret)
    except ssl.SSLError as error:
        if "KEY_VALUES_MISMATCH" in (error.reason or ""):
            raise SettingsError(
                f"{prefix}KEY_FILE: the key in {key} is not that of the certificate in {certificate}"
            ) from error
        raise SettingsError(
            f"{prefix}KEY_FILE: {key} has no key that can be used ({error.reason or 'no PEM'}):"
            f" is {prefix}KEY_PASSWORD right?"
        ) from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{prefix}KEY_FILE: {key} cannot be used ({error})") from error
