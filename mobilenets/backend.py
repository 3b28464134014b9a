"""The backend of Keras: the configured one, or else one that is installed."""

import importlib.util
import json
import os
import pathlib
import sys

BACKENDS = ("tensorflow", "jax", "torch")
"""The backends that are supported, in the order in which an installed one is taken."""


def is_installed(package: str) -> bool:
    """Returns whether a package is installed; it is not imported."""
    try:
        return package in sys.modules or importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # A program may forbid an import.
        return False


def installed_backends() -> list[str]:
    """Returns the backends that are installed; nothing is imported."""
    return [name for name in BACKENDS if is_installed(name)]


def choose_backend() -> None:
    """Sets ``KERAS_BACKEND`` to an installed backend if neither it nor Keras's own configuration names one.

    Keras takes TensorFlow by default, also where only JAX or PyTorch is installed. A value that the user set is kept.
    """
    if "keras" in sys.modules or "KERAS_BACKEND" in os.environ:
        return
    installed = installed_backends()
    if installed and _configured() not in installed:
        os.environ["KERAS_BACKEND"] = installed[0]


def check_backend() -> None:
    """Checks that Keras can be imported with its backend.

    Raises:
        ImportError: no backend is installed, or not the configured one; the message is one sentence.
    """
    name = os.environ.get("KERAS_BACKEND") or _configured()
    if "keras" in sys.modules or is_installed(name if name in BACKENDS else "keras"):
        return
    installed = installed_backends()
    if installed:
        raise ImportError(
            f"KERAS_BACKEND is {name}, which is not installed: pip install 'mobilenets[{name}]', or set KERAS_BACKEND "
            f"to {' or '.join(installed)}."
        )
    raise ImportError(
        "Keras needs a backend, and none is installed: pip install 'mobilenets[tensorflow]', 'mobilenets[jax]' or "
        "'mobilenets[torch]'."
    )


def _configured() -> str:
    """Returns the backend in the file of Keras's configuration; TensorFlow where there is none."""
    folder = pathlib.Path(os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras")
    try:
        return json.loads((folder / "keras.json").read_text())["backend"]
    except (OSError, ValueError, LookupError, TypeError):
        return "tensorflow"
