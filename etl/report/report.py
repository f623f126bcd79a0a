"""`etl report`: the results of some days in one file, for readers who do not know the system."""

from datetime import UTC, date, datetime
from pathlib import Path

from etl.cassandra.connection import connect
from etl.errors import SettingsError
from etl.model.measurements import read_measurements
from etl.model.tables import days_between
from etl.report.data import gathered
from etl.report.document import as_html
from etl.report.pdf import find_browser, print_pdf
from etl.results import formats
from etl.results.reader import Reader
from etl.settings import CassandraSettings, ReportSettings, RunSettings, read_settings

MOST_DAYS = 92


def report(first: date, last: date, output: Path, *, pdf: bool = False) -> str:
    """Write the report of these days; return a line about it.

    Raises:
        SettingsError: the days, the file or a program cannot be used, or there is no data.
        Unreachable: Cassandra does not answer.
    """
    if not 0 <= (last - first).days < MOST_DAYS:
        raise SettingsError(f"--from {first} --to {last}: choose from 1 to {MOST_DAYS} days")
    browser = find_browser(read_settings(ReportSettings)) if pdf else ""
    measurements = read_measurements(read_settings(RunSettings).measurements_file)
    with connect(read_settings(CassandraSettings)) as session:
        data = gathered(Reader(session, measurements), days_between(first, last))
    text = as_html(data, datetime.now(UTC))
    try:
        if pdf:
            print_pdf(browser, text, output)
        else:
            output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--output {output} cannot be written: {error.strerror}") from error
    return f"{output}: {formats.count(len(data.judged), 'machine')}, {formats.count(len(data.events), 'event')}"
