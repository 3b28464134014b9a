"""What only TensorFlow can do: one sentence where it is not installed, a process of its own on other backends."""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping

from converters.errors import ConversionError
from mobilenets.backend import is_installed


def has_tensorflow() -> bool:
    """Returns whether TensorFlow is installed; it is not imported."""
    return is_installed("tensorflow")


def need_tensorflow(task: str) -> None:
    """Raises an error if TensorFlow is not installed.

    Args:
        task: what needs it; the sentence begins with it.

    Raises:
        ConversionError: it is not installed.

    Example:
        >>> need_tensorflow("Running the frozen graph model.pb")
    """
    if not has_tensorflow():
        raise ConversionError(f"{task} needs TensorFlow, which is not installed: pip install 'mobilenets[tensorflow]'.")


def run_on_tensorflow(module: str, task: str, folder: pathlib.Path, request: Mapping) -> None:
    """Runs a module as a program in a process whose Keras runs on TensorFlow.

    Args:
        module: name of the module. Its arguments are the folder and the request as JSON.
        task: what it does; sentences begin with it.
        folder: where the program finds its input and leaves its output.
        request: JSON values.

    Raises:
        ConversionError: TensorFlow is not installed, or the program fails.
    """
    need_tensorflow(task)
    ended = subprocess.run(
        [sys.executable, "-m", module, str(folder), json.dumps(request)],
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if ended.returncode:
        reason = (ended.stderr.strip() or "no reason was printed").splitlines()[-1]
        raise ConversionError(f"{task} failed in a process on Keras's TensorFlow backend: {reason}")
