"""Tokens with which a client logs in by OAUTHBEARER: of an OAuth server, or signed with AWS credentials.

The grant of client credentials: RFC 6749, section 4.4.
"""

import base64
import json
import re
import time
from http.client import HTTPException
from threading import Lock
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

from etl.errors import CredentialsError, SettingsError, Unreachable
from etl.settings import KafkaSettings
from etl.urls import shown

FETCH_SECONDS = 10.0
# A token without a stated lifetime is renewed after this time.
LIFETIME_SECONDS = 300.0
# The share of its lifetime after which a token is renewed; both clients ask for a new one a little later.
RENEW = 0.75
_LARGEST_ANSWER = 1024 * 1024
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSED = frozenset({400, 401, 403})


class Token(NamedTuple):
    """A token with the times (epoch seconds) at which it is to be renewed and at which it expires."""

    text: str
    renew: float
    expires: float


class _NoRedirects(HTTPRedirectHandler):
    """Refuse redirects, which would carry the secret to another host."""

    def redirect_request(self, *_: Any) -> None:
        """Return no request, so that the answer is an error."""


_tokens: dict[tuple[object, ...], Token] = {}
_one_at_a_time = Lock()


def current_token(settings: KafkaSettings) -> Token:
    """Return a token that is valid now; all connections of the process share it until it is to be renewed.

    Raises:
        CredentialsError: the token server refuses the client.
        SettingsError: the address, an AWS credential or a package is wrong or missing.
        Unreachable: the token server does not answer, and the last token has expired.
    """
    secret = settings.oauth_client_secret.get_secret_value() if settings.oauth_client_secret else None
    key = (settings.oauth_token_url, settings.oauth_client_id, secret, settings.oauth_scope, settings.aws_region)
    with _one_at_a_time:
        token = _tokens.get(key)
        if token is None or time.time() >= token.renew:
            try:
                token = _signed(settings) if settings.sasl_mechanism == "AWS_MSK_IAM" else _fetched(settings)
            except Unreachable:
                if token is None or time.time() >= token.expires:
                    raise
            _tokens[key] = token
        return token


def _token(text: str, seconds: float) -> Token:
    now = time.time()
    return Token(text, now + RENEW * seconds, now + seconds)


def _fetched(settings: KafkaSettings) -> Token:
    """Ask the token server for a token."""
    url = shown(str(settings.oauth_token_url))
    where = f"the token server {url}"
    # `urlopen` of the standard library uses the proxies and the authorities of the environment.
    opener = build_opener(_NoRedirects)
    try:
        with opener.open(_request(settings), timeout=FETCH_SECONDS) as answer:
            found = json.loads(answer.read(_LARGEST_ANSWER))
        text, seconds = found["access_token"], float(found.get("expires_in", LIFETIME_SECONDS))
        if not (isinstance(text, str) and text.isascii() and text.isprintable() and seconds > 0):
            raise ValueError("no token")
        return _token(text, seconds)
    except HTTPError as error:
        if error.code in _TEMPORARY:
            raise Unreachable(f"{where} is not available (HTTP {error.code})") from None
        if error.code in _REFUSED:
            raise CredentialsError(
                f"{where} refuses client {settings.oauth_client_id} ({_code(error)}): check ETL_KAFKA_OAUTH_CLIENT_ID,"
                " ETL_KAFKA_OAUTH_CLIENT_SECRET and ETL_KAFKA_OAUTH_SCOPE"
            ) from None
        raise SettingsError(f"{where} answers HTTP {error.code}: check ETL_KAFKA_OAUTH_TOKEN_URL") from None
    except URLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error.reason):
            raise SettingsError(
                f"TLS with {where} failed, its certificate is not trusted: name its CA in SSL_CERT_FILE"
            ) from None
        raise Unreachable(f"{where} does not answer: {error.reason}") from None
    except (ValueError, KeyError, TypeError):
        raise SettingsError(f"{where} does not answer with a token: check ETL_KAFKA_OAUTH_TOKEN_URL") from None
    except (HTTPException, OSError) as error:
        raise Unreachable(f"{where} does not answer: {error or type(error).__name__}") from None


def _request(settings: KafkaSettings) -> Request:
    secret = settings.oauth_client_secret.get_secret_value() if settings.oauth_client_secret else ""
    pair = f"{quote(str(settings.oauth_client_id), safe='')}:{quote(secret, safe='')}"
    fields = {"grant_type": "client_credentials"} | ({"scope": settings.oauth_scope} if settings.oauth_scope else {})
    headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}", "Accept": "application/json"}
    # Its scheme is checked with the settings.
    return Request(str(settings.oauth_token_url), urlencode(fields).encode(), headers)  # noqa: S310


def _code(error: HTTPError) -> str:
    """Return the status with the error code of the answer; the rest of an answer may hold anything."""
    try:
        code = json.loads(error.read(_LARGEST_ANSWER))["error"]
    except (ValueError, KeyError, TypeError, HTTPException, OSError):
        code = ""
    known = isinstance(code, str) and re.fullmatch("[a-z_]{1,40}", code)
    return f"HTTP {error.code} {code}" if known else f"HTTP {error.code}"


def _signed(settings: KafkaSettings) -> Token:
    """Sign a token with the AWS credentials of the environment, as Amazon MSK requires."""
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError:
        raise SettingsError(
            "ETL_KAFKA_SASL_MECHANISM=AWS_MSK_IAM needs the package aws-msk-iam-sasl-signer-python: install the"
            " extra `msk`"
        ) from None
    try:
        # Without credentials the signer has an error that says nothing.
        if Session().get_credentials() is None:
            raise ValueError("no credentials are found")
        text, expires = MSKAuthTokenProvider.generate_auth_token(settings.aws_region)
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            f"AWS_MSK_IAM: {error}: AWS's own settings have to name an identity, such as AWS_ACCESS_KEY_ID"
        ) from None
    return _token(str(text), expires / 1000 - time.time())
