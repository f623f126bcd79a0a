import pytest

from etl.model import tables
from etl.results import rows


@pytest.mark.parametrize(
    ("row", "table", "without"),
    [
        (rows.FleetDay, tables.FLEET_DAYS, set()),
        (rows.MachineDay, tables.MACHINE_DAYS, set()),
        (rows.TrendRow, tables.TRENDS, set()),
        (rows.HealthRow, tables.PIPELINE_HEALTH, set()),
        (rows.MachineRow, tables.EQUIPMENT, set()),
        (rows.EventRow, tables.EVENTS, {"day"}),
        (rows.EventRow, tables.MACHINE_EVENTS, {"year"}),
    ],
)
def test_row_has_the_columns_of_its_table_when_it_is_read(row: type, table: tables.Table, without: set[str]) -> None:
    of_acknowledgement = set(tables.ACKNOWLEDGEMENTS.columns) - set(table.columns) if row is rows.EventRow else set()
    assert set(row.__annotations__) == set(table.columns) - without | of_acknowledgement - {"day"}
