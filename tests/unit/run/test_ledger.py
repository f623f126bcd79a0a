from etl.run.ledger import LoadedRun, unmapped
from etl.run.workspace import Summary


def run(*shards: dict[str, int]) -> LoadedRun:
    stages = [
        Summary("consume", "a", "2026-01-05T06:00:00.000+00:00", 0.0, {}, [], {}, number, len(shards), unknown)
        for number, unknown in enumerate(shards)
    ]
    return LoadedRun("r", stages)


def test_fields_are_told_by_run_when_they_are_not_mapped() -> None:
    runs = [run({"I": 2, "at": 1}, {"at": 1000}), run({"at": 4, "old": 1}), run({}), run({"x": 1})]
    assert unmapped(runs) == ["at 1,001, I 2, new: I, gone: old", "at 4, old 1, new: at old", "gone: x", "x 1"]


def test_first_fields_are_told_when_there_are_very_many() -> None:
    (text,) = unmapped([run({f"f{number}": 100 - number for number in range(50)})])
    assert text.startswith("f0 100, f1 99, ")
    assert text.endswith("f7 93, 42 more fields")


def test_nothing_is_told_when_all_is_mapped() -> None:
    assert unmapped([run({}), run({})]) == ["", ""]
    assert unmapped([]) == []
