"""MobileNet V1, MobileNet V2 and Inception V2 in stock Keras layers, and the table of the published models."""

import importlib
import importlib.metadata

import lazy_loader

# The public names are declared in __init__.pyi. Each is imported on first use, so the table of models needs no Keras.
_stub_getattr, _stub_dir, _stub_all = lazy_loader.attach_stub(__name__, __file__)

# Names of `converters`, imported on first use, so one import is enough.
_CONVERTERS = ("convert", "create_model", "verify")
__all__ = [*_stub_all, *_CONVERTERS]


def __getattr__(name: str):
    if name == "__version__":
        return importlib.metadata.version("mobilenets")
    if name in _CONVERTERS:
        return getattr(importlib.import_module("converters"), name)
    return _stub_getattr(name)


def __dir__() -> list[str]:
    return [*_stub_dir(), *_CONVERTERS, "__version__"]
