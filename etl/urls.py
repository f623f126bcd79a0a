"""Remove secrets from URLs: a user, a password, a query or a fragment may be one.

Messages of libraries contain URLs in various forms, so all output goes through `without_secrets`.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, unquote_plus

# Settings that are URLs; the URL of the webhook is a secret as a whole.
URLS = ("ETL_WORKSPACE_URL", "ETL_GENERATE_RECORDED_URL", "ETL_OTLP_ENDPOINT", "ETL_ANALYZE_WEBHOOK")
_WHOLE = frozenset(["ETL_ANALYZE_WEBHOOK"])
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>|]+")
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


def _shown(part: str) -> str:
    scheme, mark, rest = part.partition("://")
    if not mark:
        return part
    _, host_and_path = _split_user(rest)
    return f"{scheme}://{re.split('[?#]', host_and_path, maxsplit=1)[0]}"


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
    known = [*urls, *settings_urls()]
    for url in known:
        text = text.replace(url, shown(url))
    found = {form for url in known for secret in _secrets(url) for form in _forms(secret)}
    found |= {url for name, url in _settings() if name in _WHOLE}
    for secret in sorted(found, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, _HIDDEN)
    return _URL.sub(lambda match: shown(match[0]), text)


def _forms(secret: str) -> set[str]:
    return {secret, unquote(secret), unquote_plus(secret), quote(secret), quote(secret, safe="")}


def settings_urls() -> list[str]:
    """Return the URLs of the settings, from the environment or mounted secrets."""
    return [url for _, url in _settings()]


def _settings() -> Iterator[tuple[str, str]]:
    folder = os.environ.get("ETL_SECRETS_DIR")
    for name in URLS:
        if url := os.environ.get(name):
            yield name, url
        elif folder:
            try:
                yield name, (Path(folder) / name).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                continue
