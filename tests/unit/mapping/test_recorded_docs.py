"""The mappings of docs/recorded.md: a file of that kind gives the columns and the first time beside it."""

import re
from pathlib import Path

import pytest

from etl.admin.mapping_trial import try_file
from etl.model.measurements import Measurement, Measurements, read_measurements

PAGE = (Path(__file__).parents[3] / "docs" / "recorded.md").read_text()
# Lines of the same kind as those of the public file, with values of their own, by the equipment ID of the example.
FILES = {
    "pump-loop": "datetime;Current;Pressure;Temperature;Voltage;anomaly\n2020-03-09 10:14:33;1;2;3;4;0.0\n",
    "rig-2": ",Datetime,Bearing 1,Bearing 2,Bearing 3,Bearing 4\n0,2004.02.12.10.32.39,0.1,0.2,0.3,0.4\n",
    "office": "timestamp,value\n2013-07-04 00:00:00,69.5\n",
    "reactor": "minute,xmeas_7,xmeas_9\n0,2700,120\n3,2701,121\n",
}
EXAMPLE = re.compile(r"```yaml\n(.+?)```\n\n```text\n *(.+?)\n *(.+?)\n", re.DOTALL)


@pytest.mark.parametrize(("mapping", "header", "row"), EXAMPLE.findall(PAGE))
def test_example_gives_the_row_beside_it(tmp_path, mapping, header, row):
    name = next(name for name in FILES if name in row)
    (tmp_path / "mapping.yaml").write_text(mapping)
    (tmp_path / "in.csv").write_text(FILES[name])
    bearings = [Measurement(f"bearing_{n}", "double", "g", 5) for n in range(1, 5)]
    measurements = Measurements(tuple(bearings)) if name == "rig-2" else read_measurements()
    trial = try_file(str(tmp_path / "in.csv"), tmp_path / "mapping.yaml", measurements)
    assert not trial.dead_letters
    assert list(trial.readings[0]) == header.split()
    assert [trial.readings[0][name] for name in ("equipment_id", "timestamp")] == row.split()[:2]


def test_page_has_an_example_of_each_kind():
    assert len(EXAMPLE.findall(PAGE)) == len(FILES) == PAGE.count("```yaml")
