from etl.page.static_html import as_html
from etl.page.views.pipeline import _unmapped
from etl.run.ledger import LoadedRun
from etl.run.workspace import Summary


def run(name: str, **unknown: int) -> LoadedRun:
    started = "2026-01-05T06:00:00.000+00:00"
    return LoadedRun(name, [Summary("consume", "a", started, 0.0, {}, [], {}, unknown=unknown)])


def test_fields_are_listed_by_run_when_they_are_not_mapped() -> None:
    (card,) = _unmapped([run("second", I=2, at=1), run("first", at=3)])
    page = as_html(card)
    assert "I 2, at 1, new: I" in page
    assert "at 3" in page


def test_no_card_is_shown_when_all_fields_are_mapped() -> None:
    assert _unmapped([run("second"), run("first")]) == []
