"""Print a document to PDF with a headless browser."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from etl.errors import SettingsError
from etl.settings import ReportSettings

PDF_SECONDS = 120
_BROWSERS = ("chromium", "google-chrome", "chromium-browser", "chrome")


def find_browser(settings: ReportSettings) -> str:
    """Return the path of the program that prints PDF.

    Raises:
        SettingsError: it is not installed.
    """
    wanted = [settings.chromium] if settings.chromium else _BROWSERS
    found = next(filter(None, map(shutil.which, wanted)), None)
    if found is None:
        raise SettingsError(
            f"--pdf needs Chromium, and there is no {' or '.join(wanted)}: install it, or set ETL_REPORT_CHROMIUM"
        )
    return found


def print_pdf(browser: str, text: str, output: Path) -> None:
    """Print a document to a PDF file.

    Raises:
        SettingsError: the browser fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "report.html")
        page.write_text(text, encoding="utf-8")
        command = [browser, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command += ["--disable-background-networking", f"--user-data-dir={folder}/profile", "--no-pdf-header-footer"]
        # Chromium has no sandbox for root. The document comes from this code and has no scripts.
        command += ["--no-sandbox"] if os.geteuid() == 0 else []
        printed = Path(folder, "report.pdf")
        try:
            done = subprocess.run(
                [*command, f"--print-to-pdf={printed}", page.as_uri()],
                capture_output=True,
                timeout=PDF_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SettingsError(f"{browser} did not print within {PDF_SECONDS} s: try it by hand") from None
        if not printed.exists():
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise SettingsError(f"{browser} ended with {done.returncode} and printed nothing: {' '.join(last)}")
        shutil.copyfile(printed, output)
