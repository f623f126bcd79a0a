"""Remove secrets from URLs: a user, a password, a query or a fragment may be one.

Messages of libraries contain URLs in various forms, so all output goes through `without_secrets`. It also removes the
passwords and tokens of the settings.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, unquote_plus

# Settings that are URLs; the URL of the webhook is a secret as a whole.
URLS = (
    "ETL_WORKSPACE_URL",
    "ETL_GENERATE_RECORDED_URL",
    "ETL_OTLP_ENDPOINT",
    "ETL_REGISTRY_URL",
    "ETL_ANALYZE_WEBHOOK",
    "ETL_KAFKA_OAUTH_TOKEN_URL",
)
_WHOLE = frozenset(["ETL_ANALYZE_WEBHOOK"])
_PASSWORDS = (
    "ETL_KAFKA_PASSWORD",
    "ETL_KAFKA_OAUTH_CLIENT_SECRET",
    "ETL_KAFKA_KEY_PASSWORD",
    "ETL_CASSANDRA_PASSWORD",
    "ETL_CASSANDRA_KEY_PASSWORD",
    "ETL_PAGE_PASSWORD",
    "ETL_REGISTRY_PASSWORD",
)
_TOKENS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "OTEL_EXPORTER_OTLP_HEADERS")  # read by libraries
_WITH_SECRETS = frozenset([*URLS, *_PASSWORDS, *_TOKENS])
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>|]+")
_NO_SLASHES = re.compile(r"(?!file:|local:)([A-Za-z][A-Za-z0-9+.-]+):(?!//)")
_CHAIN = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_CONTAINERS = frozenset(["abfs", "abfss", "wasb", "wasbs"])  # there a user is a folder
_SHORTEST = 4  # shorter texts would match ordinary words
_HIDDEN = "***"


def shown(url: str) -> str:
    """Return scheme, host and path of a URL, also of one chained with `::`; a path without scheme stays unchanged."""
    return "::".join(map(_shown, parts(url)))


def parts(url: str) -> list[str]:
    """Return the URLs that are chained in one; a host may be an IPv6 address."""
    return _CHAIN.split(url)


def scheme_without_slashes(url: str) -> str:
    """Return the scheme of a URL that lacks `//` after it, such as `s3:bucket`, "" for other URLs and paths."""
    scheme = _NO_SLASHES.match(url)
    return scheme[1] if scheme else ""


def _shown(part: str) -> str:
    scheme, mark, rest = part.partition("://")
    if not mark and scheme_without_slashes(part):
        scheme, mark, rest = part.partition(":")
        rest = rest.removeprefix("/")
    if not mark:
        return part
    _, host_and_path = _split_user(rest)
    return f"{scheme}{mark}{re.split('[?#]', host_and_path, maxsplit=1)[0]}"


def _split_user(rest: str) -> tuple[str, str]:
    """Split user and password, which may contain a slash by mistake, from host and path."""
    authority = rest.partition("/")[0]
    user, mark, host = rest.rpartition("@") if _broken(authority) else authority.rpartition("@")
    if not mark:
        return "", rest
    return user, host if _broken(authority) else host + rest[len(authority) :]


def _broken(authority: str) -> bool:
    """Return whether there is a password without a host after it."""
    _, mark, port = authority.partition(":")
    return bool(mark) and "@" not in authority and not authority.startswith("[") and not re.fullmatch(r"\d*", port)


def _secrets(url: str) -> Iterator[str]:
    for part in parts(url):
        scheme, mark, rest = part.partition("://")
        if mark:
            user, host_and_path = _split_user(rest)
            if scheme in _CONTAINERS and ":" not in user:
                user = ""
            query = host_and_path.partition("#")[0].partition("?")[2]
            yield from (user, user.partition(":")[2], query, *(value for _, value in parse_qsl(query)))


def without_secrets(text: str, urls: Iterable[str] = ()) -> str:
    """Remove the secrets of these URLs and of the settings from a text, and shorten every other URL in it."""
    settings = list(_settings())
    known = [*urls, *(value for name, value in settings if name in URLS)]
    secrets = [secret for url in known for secret in _secrets(url)]
    secrets += [secret for name, url in settings if name in _WHOLE for secret in _addresses(url)]
    secrets += [secret for name, value in settings if name not in URLS for secret in _values(value)]
    for url in known:
        text = text.replace(url, shown(url))
    for form in sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True):
        if len(form) >= _SHORTEST:
            text = text.replace(form, _HIDDEN)
    return _URL.sub(lambda match: shown(match[0]), text)


def _addresses(url: str) -> Iterator[str]:
    """Yield a URL that is a secret as a whole, and its path, because libraries name them separately."""
    yield shown(url)
    yield shown(url).partition("://")[2].partition("/")[2]


def _values(setting: str) -> Iterator[str]:
    """Yield a password; of headers, such as `name=token,name=token`, also each token."""
    yield setting
    yield from (value.strip() for _, mark, value in (part.partition("=") for part in setting.split(",")) if mark)


def _forms(secret: str) -> set[str]:
    # The environment may hold bytes that are not UTF-8.
    quoted = (quote(secret, safe=safe, errors="replace") for safe in ("/", ""))
    return {secret, unquote(secret), unquote_plus(secret), *quoted}


def _settings() -> Iterator[tuple[str, str]]:
    """Yield the settings with secrets that are set; as for pydantic, names may be in capitals or not."""
    yield from ((name.upper(), value) for name, value in os.environ.items() if value and name.upper() in _WITH_SECRETS)
    for path in _files(os.environ.get("ETL_SECRETS_DIR")):
        if path.name.upper() in _WITH_SECRETS:
            try:
                yield path.name.upper(), path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                continue


def _files(folder: str | None) -> list[Path]:
    try:
        return list(Path(folder).iterdir()) if folder else []
    except OSError:
        return []
