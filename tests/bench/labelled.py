"""Judge `unusual` by public labelled data: part of `make bench-insight`. Nothing asserts.

The data lie in ETL_SHARED/data/labelled (default ../shared), each set with a README; a set that is absent is left out.
Their licences forbid to copy them here. Readings take the way of the product: minutes, hours and the watch of each day,
`detect` up to the end of the day, and `merge`. Every event counts as an alarm from its start to its end, but for a
dropout. All sets have the settings of `limits.yaml`. A machine has no electric rating, as nothing tells one.

- SKAB, a pump loop: per file the first 400 readings are for learning; seconds of all others, pooled. The peers learn
  from the same 400 readings. The run without faults: share of its seconds in alarm.
- TEP, a chemical plant: the normal training run, then a test run of which the fault begins at reading 160. Share of
  the readings with the fault that are detected, of those without it in alarm, and the delay to the fifth alarm.
  Faults 3, 9 and 15 cannot be detected by anybody and are left out.
- NAB, temperatures of machine rooms: the start of an event is a detection, scored by NAB's standard profile.
- IMS, bearings until failure: a bearing is found if an event names it with a contribution of a fifth or more.

Peers: pyod's detectors, with the threshold of the best F1 on the scored readings (SKAB) or of 0.5 % false alarms
(TEP), which favours them; for NAB the residual of statsmodels' STL with a limit of 6 robust deviations.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.pca import PCA
from statsmodels.tsa.seasonal import STL

from etl.insight.detection import detect, merge, new_watch, watch
from etl.insight.indicators import by_hour, by_minute, from_ms, readings_within, to_ms
from etl.insight.limits import default_limits
from etl.insight.machine import HOUR_DAYS, MINUTE_DAYS
from etl.model.catalogue import Machine
from etl.model.events import Event
from etl.model.schemas import DAY_MS, TIMESTAMP
from etl.terminal import print_table

FOLDER = Path(os.environ.get("ETL_SHARED") or "../shared") / "data" / "labelled"
BEGIN = to_ms(datetime(2026, 1, 5, tzinfo=UTC))
LEARN, FAULT = 400, 160
CONFIRMED = 4
UNDETECTABLE = frozenset({"03", "09", "15"})
FAILED_BEARINGS = {"1": {"3", "4"}, "2": {"1"}, "3": {"3"}}
NAMED = 20
PEERS = {"PCA": PCA, "isolation forest": IForest, "KNN": KNN, "ECOD": ECOD}


class Series(NamedTuple):
    """Readings of one machine: `times` (n,) in ms since 1970, `values` (n, p), and seconds between readings."""

    names: list[str]
    times: np.ndarray
    values: np.ndarray
    interval: float


def evenly(frame: pd.DataFrame, interval: float) -> Series:
    """Give readings without times a time each."""
    times = BEGIN + (np.arange(len(frame)) * interval * 1000).astype(np.int64)
    return Series(plain(frame), times, frame.to_numpy(float), interval)


def plain(frame: pd.DataFrame) -> list[str]:
    """Write the names of columns as names of measurements."""
    return [re.sub(r"\W+", "_", name.lower()) for name in frame.columns]


def stamps(column: pd.Series, pattern: str | None = None) -> np.ndarray:
    """Read times as UTC, in ms."""
    return pd.to_datetime(column, format=pattern).to_numpy().astype("datetime64[ms]").astype(np.int64)


def events_of(series: Series) -> list[Event]:
    """Find the events of a machine day by day, as the product does."""
    machine = Machine(equipment_id="m", interval_seconds=series.interval)
    kept = np.unique(series.times, return_index=True)[1]
    times, values = series.times[kept], series.values[kept]
    table = pa.table(
        {
            "timestamp": pa.array(times).cast(TIMESTAMP),
            **{name: values[:, place] for place, name in enumerate(series.names)},
            "quality": pa.array([""] * len(times)),
        }
    )
    end, known, known_watch = int(times[-1]) + 1, [], new_watch(series.names)
    minutes: list[pa.Table] = []
    hours: list[list[dict[str, object]]] = []
    limits, names = default_limits(), series.names
    for begin in range(int(times[0]) // DAY_MS * DAY_MS, end, DAY_MS):
        until, day = from_ms(min(begin + DAY_MS, end)), from_ms(begin).date()
        own = slice(*np.searchsorted(times, (begin, begin + DAY_MS)))
        readings = table.slice(own.start, own.stop - own.start)
        minutes.append(by_minute(readings, machine, day))
        since = from_ms(int(times[0])) if not hours else None
        hours.append(by_hour(readings, machine, day, until, limits, since))
        of_day = readings_within(readings, begin, begin + DAY_MS)
        judged = np.column_stack([of_day.values[name] for name in names])
        known_watch = watch(known_watch, of_day.times, judged, limits.unusual)
        recent = pa.concat_tables(minutes[-MINUTE_DAYS:], promote_options="default")
        past = [row for rows in hours[-HOUR_DAYS:] for row in rows]
        lasting = [event for event in known if event.end is None]
        found = detect(machine, recent, past, until, limits, {}, lasting, known_watch)
        known = merge(known, [each for each in found if (each.end or until) >= from_ms(begin)], until)
    return [event for event in known if event.kind != "dropout"]


def in_alarm(series: Series, events: Sequence[Event]) -> np.ndarray:
    """Flag the readings that lie within an event; shape (n,)."""
    flags = np.zeros(len(series.times), dtype=bool)
    for event in events:
        end = series.times[-1] + 1 if event.end is None else to_ms(event.end)
        flags |= (series.times >= to_ms(event.start)) & (series.times < end)
    return flags


def f1_far_mar(alarms: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Give F1, and the shares of false alarms and of missed readings in percent."""
    hit, false, missed = (alarms & labels).sum(), (alarms & ~labels).sum(), (~alarms & labels).sum()
    return 2 * hit / max(1, 2 * hit + false + missed), 100 * false / (~labels).sum(), 100 * missed / labels.sum()


def skab_runs() -> Iterator[tuple[Series, np.ndarray]]:
    """Read the labelled runs."""
    for path in sorted((FOLDER / "skab").glob("*/*.csv")):
        if path.parent.name != "anomaly-free":
            frame = pd.read_csv(path, sep=";")
            values = frame.drop(columns=["datetime", "anomaly", "changepoint"])
            series = Series(plain(values), stamps(frame["datetime"]), values.to_numpy(float), 1.0)
            yield series, frame["anomaly"].to_numpy() > 0


def score_skab() -> list[list[object]]:
    """Score all runs, and the one without faults."""
    runs = list(skab_runs())
    if not runs:
        return []
    labels = np.concatenate([own[LEARN:] for _, own in runs])
    ours = np.concatenate([in_alarm(series, events_of(series))[LEARN:] for series, _ in runs])
    rows = [_skab_row("etl analyze", ours, labels), _skab_row("always alarming", np.ones_like(labels), labels)]
    best = max((_peer_skab(name, runs, labels) for name in PEERS), key=lambda row: float(str(row[2])))
    return [*rows, best, _anomaly_free()]


def _skab_row(name: str, alarms: np.ndarray, labels: np.ndarray) -> list[object]:
    f1, far, mar = f1_far_mar(alarms, labels)
    return ["SKAB", name, f"{f1:.3f}", f"{far:.1f} % false", f"{mar:.1f} % missed"]


def _peer_skab(name: str, runs: Sequence[tuple[Series, np.ndarray]], labels: np.ndarray) -> list[object]:
    scores = np.concatenate([_peer(name, series.values[:LEARN], series.values[LEARN:]) for series, _ in runs])
    limits = np.quantile(scores, np.linspace(0.02, 0.98, 49))
    best = max(limits, key=lambda limit: f1_far_mar(scores > limit, labels)[0])
    return _skab_row(f"pyod {name}", scores > best, labels)


def _peer(name: str, normal: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """Return a peer's scores over its own largest usual one, so that those of several machines compare."""
    scale = np.maximum(normal.std(axis=0), 1e-9)
    mean = normal.mean(axis=0)
    arguments = {"random_state": 1} if PEERS[name] is IForest else {}
    model = PEERS[name](**arguments).fit((normal - mean) / scale)
    return np.asarray(model.decision_function((scored - mean) / scale) / np.quantile(model.decision_scores_, 0.99))


def _anomaly_free() -> list[object]:
    frame = pd.read_csv(FOLDER / "skab" / "anomaly-free" / "anomaly-free.csv", sep=";")
    values = frame.drop(columns=["datetime"])
    series = Series(plain(values), stamps(frame["datetime"]), values.to_numpy(float), 1.0)
    events = events_of(series)
    share = in_alarm(series, events)[LEARN:].mean()
    return ["SKAB, no faults", "etl analyze", "", f"{100 * share:.2f} % of seconds", f"{len(events)} events"]


def score_tep() -> list[list[object]]:
    """Score all test runs of detectable faults."""
    paths = sorted((FOLDER / "tep").glob("d*_te.csv"))
    if not paths:
        return []
    normal = pd.read_csv(FOLDER / "tep" / "d00.csv").drop(columns=["minute"])
    runs = {path.name[1:3]: pd.read_csv(path).drop(columns=["minute"]) for path in paths}
    runs = {name: run for name, run in runs.items() if name not in UNDETECTABLE}
    ours = {}
    for name, run in runs.items():
        series = evenly(pd.concat([normal, run]), 180.0)
        ours[name] = in_alarm(series, events_of(series))[len(normal) :]
    best = max((_peer_tep(name, normal, runs) for name in PEERS), key=lambda row: float(str(row[2])))
    return [_tep_row("etl analyze", ours), best]


def _tep_row(name: str, alarms: dict[str, np.ndarray]) -> list[object]:
    faults = {fault: flags[FAULT:] for fault, flags in alarms.items() if fault != "00"}
    false = np.concatenate([flags if fault == "00" else flags[:FAULT] for fault, flags in alarms.items()])
    delays = [3 * (int(np.argmax(flags)) + CONFIRMED) if flags.any() else np.inf for flags in faults.values()]
    detected = np.mean([flags.mean() for flags in faults.values()])
    return ["TEP", name, f"{detected:.3f}", f"{100 * false.mean():.2f} % false", f"delay {np.median(delays):.0f} min"]


def _peer_tep(name: str, normal: pd.DataFrame, runs: dict[str, pd.DataFrame]) -> list[object]:
    scores = {fault: _peer(name, normal.to_numpy(float), run.to_numpy(float)) for fault, run in runs.items()}
    false = np.concatenate([each if fault == "00" else each[:FAULT] for fault, each in scores.items()])
    limit = np.quantile(false, 0.995)
    return _tep_row(f"pyod {name}", {fault: each > limit for fault, each in scores.items()})


def score_nab() -> list[list[object]]:
    """Score each series, and all together."""
    windows = pd.read_csv(FOLDER / "nab" / "windows.csv", parse_dates=["window_start", "window_end"])
    rows, totals = [], {"etl analyze": [0.0, 0], "statsmodels STL": [0.0, 0]}
    for path in sorted((FOLDER / "nab").glob("*_failure.csv")):
        frame = pd.read_csv(path, parse_dates=["timestamp"])
        times, own = stamps(frame["timestamp"]), windows[windows["file"] == path.name]
        spans = list(zip(stamps(own["window_start"]), stamps(own["window_end"]), strict=True))
        interval = float(np.median(np.diff(times))) / 1000
        series = Series(["temperature"], times, frame[["value"]].to_numpy(float), interval)
        starts = {
            "etl analyze": [to_ms(event.start) for event in events_of(series)],
            "statsmodels STL": _peer_nab(series),
        }
        for name, found in starts.items():
            points, false = nab_points(found, spans, times)
            totals[name] = [totals[name][0] + points, totals[name][1] + len(spans)]
            rows.append(["NAB " + path.name.split("_")[0], name, _normalised(points, len(spans)), f"{false} false", ""])
    return rows + [
        ["NAB, all", name, _normalised(points, int(count)), "", ""] for name, (points, count) in totals.items()
    ]


def _normalised(points: float, windows: int) -> str:
    return f"{100 * (points + windows) / (2 * windows):.1f}" if windows else ""


def nab_points(starts: Sequence[int], windows: Sequence[tuple[int, int]], times: np.ndarray) -> tuple[float, int]:
    """Give NAB's points of the standard profile, and the number of detections outside of all windows."""
    probation = times[min(int(0.15 * len(times)), 750)]
    counted = sorted(start for start in starts if start >= probation)
    points, false = 0.0, 0
    for begin, end in windows:
        inside = [start for start in counted if begin <= start <= end]
        points += _sigmoid((inside[0] - end) / (end - begin)) / _sigmoid(-1.0) if inside else -1.0
    for start in counted:
        if not any(begin <= start <= end for begin, end in windows):
            before = max(((begin, end) for begin, end in windows if end < start), default=None)
            far = (start - before[1]) / (before[1] - before[0]) if before else np.inf
            points += 0.11 * (_sigmoid(far) if far <= 3 else -1.0)
            false += 1
    return points, false


def _sigmoid(place: float) -> float:
    return float(2 / (1 + np.exp(5 * place)) - 1)


def _peer_nab(series: Series) -> list[int]:
    hourly = pd.Series(series.values[:, 0], pd.to_datetime(series.times, unit="ms")).resample("1h").mean().interpolate()
    rest = np.abs(STL(hourly, period=24, robust=True).fit().resid.to_numpy())
    rows = np.flatnonzero(rest > 6 * 1.4826 * np.median(rest))
    begun = rows[np.diff(rows, prepend=-100) > 24]
    return (hourly.index[begun].to_numpy().astype("datetime64[ms]").astype(np.int64)).tolist()


def score_ims() -> list[list[object]]:
    """Score each bearing of each test."""
    rows, hits, false, failing, sound, leads = [], 0, 0, 0, 0, []
    for path in sorted((FOLDER / "ims-bearing").glob("*.csv")):
        frame = pd.read_csv(path)
        values = frame.iloc[:, 2:]
        series = Series(plain(values), stamps(frame["Datetime"], "%Y.%m.%d.%H.%M.%S"), values.to_numpy(float), 600.0)
        events = events_of(series)
        end = from_ms(int(series.times[-1]))
        bearings, failed = {re.search(r"\d", name)[0] for name in series.names}, FAILED_BEARINGS[path.name[0]]
        found = {bearing: [event for event in events if bearing in named(event)] for bearing in bearings}
        first = {bearing: min(event.start for event in own) for bearing, own in found.items() if own}
        leads += [(end - first[bearing]) / timedelta(hours=1) for bearing in failed & first.keys()]
        hits, failing = hits + len(failed & first.keys()), failing + len(failed)
        false, sound = false + len(first.keys() - failed), sound + len(bearings - failed)
    if failing:
        lead = f"{min(leads, default=0):.0f} h ahead at least"
        rows.append(["IMS", "etl analyze", f"{hits} of {failing}", f"{false} of {sound} false", lead])
    return rows


def named(event: Event) -> set[str]:
    """List the bearings that an event names: its measurement, and the large contributions."""
    shares = re.findall(r"bearing_(\d)\w* (\d+)%", event.evidence)
    own = re.findall(r"bearing_(\d)", event.measurement or "")
    return {*own, *(bearing for bearing, share in shares if int(share) >= NAMED)}


def main() -> int:
    """Run the command line; return its exit code."""
    if not FOLDER.is_dir():
        print(f"no labelled data in {FOLDER}: set ETL_SHARED", file=sys.stderr)
        return 0
    rows = [*score_skab(), *score_tep(), *score_nab(), *score_ims()]
    print_table("Public labelled data", ["set", "by", "score", "false alarms", "missed, delay"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
