import re
import time

from etl.admin.run_all import new_run_id


def test_run_ids_sort_by_time_when_made() -> None:
    first = new_run_id()
    time.sleep(1.1)
    second = new_run_id()
    assert first < second
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", first)


def test_run_ids_differ_when_made_at_once() -> None:
    assert len({new_run_id() for _ in range(50)}) == 50
