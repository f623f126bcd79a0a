import pytest
import structlog

from etl.terminal import print_table, progress


def test_columns_are_aligned_when_it_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("title", ["stage", "readings"], [["load", 1234567], ["consume", None], ["x", 2.25]])
    assert capsys.readouterr().out.splitlines() == [
        "title",
        "  stage     readings",
        "  load     1,234,567",
        "  consume",
        "  x              2.2",
    ]


def test_row_is_one_line_when_a_text_has_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("keys", ["key"], [["m\n  forged\x1b[2J\u202egnp"], ["m2"]])
    assert capsys.readouterr().out.splitlines() == ["keys", "  key", r"  m\n  forged\x1b[2J\u202egnp", "  m2"]


def test_header_is_printed_when_there_are_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("title", ["a", "b"], [])
    assert capsys.readouterr().out == "title\n  a  b\n"


def test_brackets_stay_when_a_terminal_shows_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table("title", ["a"], [["[red]x"]])
    assert "[red]x" in capsys.readouterr().out


def test_progress_is_logged_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 11.0, 11.0, 12.0])
    monkeypatch.setattr("etl.terminal.time.monotonic", lambda: next(clock))
    with structlog.testing.capture_logs() as logs, progress("load", 100) as advance:
        advance(10)
        advance(20)
        advance(30)
    assert logs == [{"event": "load", "readings": 30, "of": 100, "log_level": "info"}]
