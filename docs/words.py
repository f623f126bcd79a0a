"""Find phrases that have a better word: `python -m docs.words`, a part of `make lint`.

`docs/words.yaml` lists the phrases, their better words, and the files to check.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
WORDS = Path(__file__).with_name("words.yaml")
SUFFIXES = {"", ".md", ".py", ".sh", ".tpl", ".txt", ".yaml", ".yml"}
_GAP = r"[\s#]+"
# Code between backticks. The generated parts of docs are checked at their source.
_SKIPPED = re.compile(r"^```.*?^```$|`[^`\n]*`|<!-- \w+ -->.*?<!-- end -->", re.DOTALL | re.MULTILINE)


def read_phrases(words: dict[str, str]) -> dict[re.Pattern[str], str]:
    """Return the better word by compiled phrase; a space matches a line break, also between lines of a comment."""
    return {
        re.compile(rf"(?<!\w)(?:{phrase.replace(' ', _GAP)})(?!\w)", re.IGNORECASE): better
        for phrase, better in words.items()
    }


def find_phrases(text: str, phrases: dict[re.Pattern[str], str]) -> Iterator[tuple[int, str, str]]:
    """Yield (line number from 1, phrase found, better word) for each phrase of a text outside of code."""
    text = _SKIPPED.sub(lambda code: re.sub(r"[^\n]", "`", code[0]), text)
    for pattern, better in phrases.items():
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, re.sub(_GAP, " ", match[0]), better


def checked_files(paths: list[str]) -> list[Path]:
    """Return the files of the paths, relative to the project, in a fixed order."""
    found = (file for path in paths for file in [ROOT / path, *(ROOT / path).rglob("*")])
    return sorted({file for file in found if file.is_file() and file.suffix in SUFFIXES and file != WORDS})


def main() -> int:
    """Print each finding as `file:line`; return 1 if there is any."""
    words = yaml.safe_load(WORDS.read_text(encoding="utf-8"))
    phrases = read_phrases(words["phrases"])
    findings = [
        f"{file.relative_to(ROOT)}:{line}: `{found}`, better: {better}"
        for file in checked_files(words["paths"])
        for line, found, better in find_phrases(file.read_text(encoding="utf-8"), phrases)
    ]
    print("\n".join(findings or ["No phrase of docs/words.yaml found."]))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
