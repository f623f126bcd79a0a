"""Another table of the node, exported by DSBulk and loaded as docs/migrate.md says."""

import re
from pathlib import Path

from etl.cassandra.connection import connect
from images import jars, local
from tests.integration.commands import ROOT, Block, program, read_blocks, run
from tests.integration.machine import Machine

PAGE = ROOT / "docs" / "migrate.md"
POM = Path(__file__).with_name("pom.xml")
NAME = "test_rows_of_another_table_are_stored_when_dsbulk_has_exported_them"


def commands() -> list[Block]:
    """Those of the section, from the export to the dead letters."""
    blocks = read_blocks(PAGE)
    (first,) = (number for number, block in enumerate(blocks) if NAME in block.mark)
    return blocks[first : first + 2]


def dsbulk(node: local.Service, folder: Path) -> str:
    """A folder for the PATH with the command, which connects to this node."""
    name = "com.datastax.oss.dsbulk.runner.DataStaxBulkLoader"
    file = folder / "dsbulk.conf"
    address = f'datastax-java-driver.basic.contact-points = ["{node.address}"]'
    file.write_text(f"{address}\ndsbulk.log.directory = {folder}/logs\n")
    return program(folder, "dsbulk", f"java -cp '{jars.resolve('dsbulk', POM)}/*' -Dconfig.file={file} {name}")


def test_rows_of_another_table_are_stored_when_dsbulk_has_exported_them(
    machine: Machine, cassandra: local.Service, tmp_path: Path
) -> None:
    with connect(machine.cassandra) as session:
        session.execute("CREATE KEYSPACE plant WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        columns = "device text, ts timestamp, volts double, amps double, PRIMARY KEY (device, ts)"
        session.execute(f"CREATE TABLE plant.history ({columns})")
        for second in range(3):
            row = f"('press-1', '2019-03-04T05:06:0{second}.250Z', {230.5 + second}, {'null' if second else 12.5})"
            session.execute(f"INSERT INTO plant.history (device, ts, volts, amps) VALUES {row}")
        (mapping,) = re.findall(r"```yaml mapping.yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
        (tmp_path / "mapping.yaml").write_text(mapping)
        run(commands(), machine.environment | {"PATH": dsbulk(cassandra, tmp_path)}, tmp_path)
        rows = session.execute("SELECT equipment_id, toUnixTimestamp(timestamp), voltage, current FROM sensor_data")
        assert sorted(rows) == [
            ("press-1", 1_551_675_960_250, 230.5, 12.5),
            ("press-1", 1_551_675_961_250, 231.5, None),
            ("press-1", 1_551_675_962_250, 232.5, None),
        ]
