"""The word list: it finds phrases in prose, and leaves code alone."""

import pytest
import yaml

from docs.words import WORDS, checked_files, find_phrases, read_phrases

PHRASES = read_phrases({"made up": "synthetic", "go(es)? on": "continue"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Machines are made up.", [(1, "made up", "synthetic")]),
        ("One line.\nIt Goes\non.", [(2, "Goes on", "continue")]),
        ("# machines are made\n# up here", [(1, "made up", "synthetic")]),
        ("The name is `made up`.", []),
        ("```\nit goes on\n```\nand then it goes on", [(4, "goes on", "continue")]),
        ("<!-- access -->\nmade up\n<!-- end -->\n", []),
        ("It has remade upper parts and a cargo online.", []),
    ],
)
def test_phrases_are_found_outside_of_code_when_the_list_has_them(text: str, found: list[tuple[int, str, str]]) -> None:
    assert list(find_phrases(text, PHRASES)) == found


def test_every_path_of_the_list_holds_files_when_it_is_checked() -> None:
    words = yaml.safe_load(WORDS.read_text(encoding="utf-8"))
    assert read_phrases(words["phrases"])
    assert [path for path in words["paths"] if not checked_files([path])] == []
