"""The versions of the software that computes."""

import importlib
import importlib.metadata


def version_of(package: str) -> str:
    """Returns the version of an installed package, if possible without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # "tensorflow" is also in the distribution tensorflow-cpu
        return importlib.import_module(package).__version__.split("-")[0]


def versions() -> dict[str, str]:
    """Returns the versions of Keras, its backend and NumPy."""
    import keras

    return {name: version_of(name) for name in ("keras", keras.backend.backend(), "numpy")}
