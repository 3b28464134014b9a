"""``python -m benchmarks [--quick] [--only SECTION]``: every section in a process of its own, one after another."""

import dataclasses
import importlib
import logging
import os
import pathlib
import subprocess
import sys
import time

import click

from benchmarks import machine, plot, results

log = logging.getLogger("benchmarks")
HERE = pathlib.Path(__file__).parent
SECTIONS = ("latency", "building", "conversion", "verification", "training", "jobs", "gpu")


@click.command()
@click.option("--quick", is_flag=True, help="Fewer works and repeats; under three minutes, no figures for the record.")
@click.option("--only", multiple=True, type=click.Choice(SECTIONS), help="Only this section; may be repeated.")
def main(quick, only):
    """Measure side by side; results as Markdown, JSON and a plot in benchmarks/results (--quick: results/quick)."""
    if len(only) == 1:
        return run_section(only[0], quick)
    for section in only or SECTIONS:
        command = [sys.executable, "-m", "benchmarks", "--only", section, *(["--quick"] if quick else [])]
        subprocess.run(command, check=True)


def run_section(section: str, quick: bool) -> None:
    """Runs one section in this process, prints its tables and writes them down."""
    # Frameworks read these when they are imported, so the section comes after.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if section != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    logging.basicConfig(format="%(message)s", level=logging.ERROR)
    log.setLevel(logging.INFO)
    # Slim's graphs use what TensorFlow has deprecated since, and it says so for every layer.
    logging.getLogger("tensorflow").addFilter(lambda record: record.levelno >= logging.ERROR)
    facts, start = machine.describe(), time.monotonic()
    found = importlib.import_module(f"benchmarks.{section}").measure(quick)
    log.info("%s: done in %.0f s", section, time.monotonic() - start)
    result = dataclasses.replace(found, machine=facts)
    results.write(result, folder_of(quick))
    if section == "latency":
        plot.draw(result.measurements, folder_of(quick) / "latency.png")
    click.echo(f"\n## {section}\n\n{result.to_markdown()}")
    if not quick:
        put(HERE / "README.md", section, result.to_markdown())
        if result.headline:
            put(HERE.parent / "README.md", "benchmarks", result.headline)


def put(page: pathlib.Path, section: str, text: str) -> None:
    """Writes the text between the section's markers in a page."""
    page.write_text(results.with_section(page.read_text(), section, text))


def folder_of(quick: bool) -> pathlib.Path:
    """Where results go; those of a quick run do not replace the record."""
    return HERE / "results" / "quick" if quick else HERE / "results"


if __name__ == "__main__":
    main()
