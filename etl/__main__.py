"""Run the command as `python -m etl`."""

from etl.cli import main

main()
