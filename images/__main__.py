"""Run the command as `python -m images`."""

from images.cli import main

main()
