"""``python -m mobilenets``: the command line."""

from converters.cli import main

main(prog_name="mobilenets")
