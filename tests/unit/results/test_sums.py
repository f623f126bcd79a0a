from etl.results.sums import lag_of, lags_of


def test_lags_of_topics_stay_separate_when_their_partitions_have_the_same_number() -> None:
    row = {"lags": {10: 1, 2: 2}, "more_lags": {"plc/2": 4, "meter/0": 8}}
    assert list(lags_of(row).items()) == [("2", 2), ("10", 1), ("meter/0", 8), ("plc/2", 4)]
    assert lag_of(row) == 15


def test_lag_is_unknown_when_no_partition_was_measured() -> None:
    assert lag_of({"lags": None, "more_lags": None}) is None
