"""The URL of a view: a path and parameters, which hold its whole state."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime
from urllib.parse import quote, unquote, unquote_plus

# An event ID contains an equipment ID of up to 255 bytes.
MAX_TEXT = 600
MOST_WORDS = 20
# Parameters that are lists: commas separate the words in the URL, and a comma inside a word is written as %2C.
LISTS = ("machines", "show")
_BETWEEN = "\x1f"


@dataclass(frozen=True)
class PageUrl:
    """A path and its parameters; unusable parameters count as not given."""

    path: str
    given: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, path: str | None, search: str | None) -> "PageUrl":
        """Parse the two parts of a URL."""
        path, search = _whole(path or "/"), _whole(search or "")
        given: dict[str, str] = {}
        for part in search.removeprefix("?").split("&"):
            name, _, value = part.partition("=")
            name = unquote_plus(name)
            if name in LISTS:
                known = given[name].split(_BETWEEN) if name in given else []
                words = [word for part in value.split(",") for word in unquote_plus(part).split(_BETWEEN)]
                given[name] = written([*known, *words])
            elif value:
                given[name] = unquote_plus(value)[:MAX_TEXT]
        return cls(path, {name: value for name, value in given.items() if value})

    @property
    def search(self) -> str:
        """The query of the URL, the same for the same parameters."""
        shown = [f"{quote(name)}={_quoted(name, value)}" for name, value in sorted(self.given.items()) if value]
        return f"?{'&'.join(shown)}" if shown else ""

    @property
    def href(self) -> str:
        """The URL without scheme and host."""
        return self.path + self.search

    def replaced(self, **changes: object) -> "PageUrl":
        """Return the URL with other parameters; None removes one. Other parameters start on the first page."""
        kept = {**self.given, **({} if "page" in changes else {"page": ""})}
        changed = kept | {name.rstrip("_"): written(value) for name, value in changes.items()}
        return PageUrl(self.path, {name: value for name, value in changed.items() if value})

    def at(self, path: str, *names: str) -> "PageUrl":
        """Return another path, with only these parameters."""
        return PageUrl(path, {name: self.given[name] for name in names if name in self.given})

    def text(self, name: str) -> str:
        """Return a parameter unchanged, empty if it is missing."""
        return self.given.get(name, "").strip()

    def choice(self, name: str, allowed: Collection[str]) -> str:
        """Return a parameter if it is one of the allowed values, else an empty text."""
        found = self.text(name)
        return found if found in allowed else ""

    def words(self, name: str) -> list[str]:
        """Return the words of a list parameter, each once."""
        return list(dict.fromkeys(word for word in self.given.get(name, "").split(_BETWEEN) if word))

    def number(self, name: str, default: int, most: int) -> int:
        """Return a parameter that is a whole number of at least 1."""
        found = self.text(name)
        return min(int(found), most) if found.isascii() and found.isdigit() and int(found) else default

    def day(self, name: str) -> date | None:
        """Return a parameter that is a day."""
        try:
            found = date.fromisoformat(self.text(name))
            return found if _has_neighbours(found) else None
        except ValueError:
            return None

    def time(self, name: str) -> datetime | None:
        """Return a parameter that is a time, in UTC if it has no zone."""
        try:
            found = datetime.fromisoformat(self.text(name))
            found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
            return found if _has_neighbours(found) else None
        except (ValueError, OverflowError):
            return None


def written(value: object) -> str:
    """Format a parameter in the form that the getters parse."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"
    if isinstance(value, list):
        return _BETWEEN.join(_whole(str(word))[:MAX_TEXT] for word in value[:MOST_WORDS] if word)
    return value.isoformat() if isinstance(value, date) else _whole(str(value))


def _whole(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can hold; no URL, table or answer can."""
    return text.encode(errors="replace").decode()


def _quoted(name: str, value: str) -> str:
    if name in LISTS:
        return ",".join(quote(word, safe=":") for word in value.split(_BETWEEN))
    return quote(value, safe=":,")


def _has_neighbours(day: date) -> bool:
    """Return whether a date has enough days before and after it for every window around it."""
    return MINYEAR + 1 < day.year < MAXYEAR - 1


def machine_path(equipment_id: str) -> str:
    """Return the path of a machine's page."""
    # Browsers treat a part of dots alone as a folder, even if they are escaped.
    mark = "~" if equipment_id.startswith("~") or not equipment_id.strip(".") else ""
    return f"/machine/{mark}{quote(equipment_id, safe='')}"


def machine_of(path: str) -> str | None:
    """Return the equipment ID of the machine whose page has this path."""
    return unquote(path.removeprefix("/machine/")).removeprefix("~") or None if path.startswith("/machine/") else None
