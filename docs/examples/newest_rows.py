"""Print the newest rows of `sensor_data`: python docs/examples/newest_rows.py EQUIPMENT_ID [NUMBER]."""

import sys

from etl.cassandra.connection import connect
from etl.settings import CassandraSettings, read_settings
from etl.terminal import print_table

equipment_id, number = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5

with connect(read_settings(CassandraSettings)) as session:
    # The watermark gives the newest day, and so the partition. In a partition the newest row is first.
    watermark = session.execute("SELECT timestamp FROM watermarks WHERE equipment_id = %s", [equipment_id]).one()
    if watermark is None:
        sys.exit(f"no reading of {equipment_id} has been loaded")
    rows = session.execute(
        "SELECT * FROM sensor_data WHERE equipment_id = %s AND day = %s LIMIT %s",
        [equipment_id, watermark[0].date(), number],
    )
    print_table("sensor_data", rows.column_names, [[str(cell) for cell in row] for row in rows])
