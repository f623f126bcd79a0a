"""Hooks of the site, which MkDocs calls (mkdocs.yml): its input is the pages as they are read in the repository.

Pages link to files outside of docs/, such as values of the chart. The site has a copy of each below `repository/`.
"""

import posixpath
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from images.jars import resolve

DOCS = Path(__file__).parent
ROOT = DOCS.parent
MERMAID = "assets/mermaid.min.js"
_LINK = re.compile(r"(?<=\]\()[^)#:\s]+(?=[)#])")
_FENCE = re.compile(r"^```(\w+) (.+)$", re.MULTILINE)
_MARK = re.compile(r"^<!-- \w+ -->$", re.MULTILINE)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the linked files outside of docs/, and Mermaid."""
    for path in sorted(_linked(DOCS.rglob("*.md"))):
        files.append(File.generated(config, _uri(path), abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV))
    files.append(File.generated(config, MERMAID, content=_mermaid()))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Return the text with links as in the site, titles of code blocks, and without marks of generated parts."""
    source = Path(str(page.file.abs_src_path))
    here = posixpath.dirname(page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        target = (source.parent / match[0]).resolve()
        return posixpath.relpath(_uri(target), here or ".") if target.is_file() else match[0]

    return _MARK.sub("", _FENCE.sub(_fence, _LINK.sub(link, markdown)))


def _linked(pages: Iterator[Path]) -> set[Path]:
    """Return the files outside of docs/ to which pages link, those of linked pages included."""
    found: set[Path] = set()
    waiting = list(pages)
    while waiting:
        page = waiting.pop()
        targets = ((page.parent / link).resolve() for link in _LINK.findall(page.read_text(encoding="utf-8")))
        new = {target for target in targets if target.is_file() and not target.is_relative_to(DOCS)} - found
        found |= new
        waiting += [target for target in new if target.suffix == ".md"]
    return found


def _uri(path: Path) -> str:
    """Return where the site has a file."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    return f"repository/{path.relative_to(ROOT).as_posix()}"


def _fence(match: re.Match[str]) -> str:
    """Keep what stands beside the language as a title, unless it speaks to the tests."""
    language, rest = match.groups()
    return f"```{language}" if rest.startswith("not run here") else f'```{language} title="{rest}"'


def _mermaid() -> bytes:
    (jar,) = resolve("mermaid", DOCS / "pom.xml").glob("mermaid-*.jar")
    with zipfile.ZipFile(jar) as content:
        (name,) = (each for each in content.namelist() if each.endswith("/dist/mermaid.min.js"))
        return content.read(name)
