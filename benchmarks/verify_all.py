"""The processes of `verification`: ``freeze FOLDER NAME...`` makes slim graphs, ``verify FOLDER NAME...`` uses them."""

import json
import sys
import time

import keras

import converters
import mobilenets
from benchmarks.verification import graph_path


def freeze(folder: str, name: str) -> None:
    """Writes the published model's slim graph with made-up weights."""
    from tests.networks import variant_of
    from tests.oracle import files, made_up_variables, variable_shapes

    info = mobilenets.get_model_info(name)
    options = {"depth_multiplier": info.depth_multiplier, "variant": variant_of(info)}
    variables = made_up_variables(variable_shapes(info.family, **options))
    files.freeze(
        graph_path(folder, name),
        info.family,
        variables,
        image_size=info.image_size,
        **options,
    )


def verify(folder: str, name: str) -> None:
    """Converts and verifies it, and prints what that took as a line of JSON."""
    path = graph_path(folder, name)
    start = time.perf_counter()
    model = converters.convert(path, name=name)
    converted = time.perf_counter()
    report = converters.verify(model, path)
    verified = time.perf_counter()
    row = {
        "model": name,
        "convert s": converted - start,
        "verify s": verified - converted,
        "endpoints": len(report.rows),
        "largest difference": float(max(row.max_relative for row in report.rows)),
        "passed": bool(report.passed),
    }
    print(json.dumps(row), flush=True)
    keras.backend.clear_session()


if __name__ == "__main__":
    task, folder, *names = sys.argv[1:]
    for name in names:
        {"freeze": freeze, "verify": verify}[task](folder, name)
