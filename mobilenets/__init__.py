"""MobileNet V1, V2 and V3 and Inception V2 in stock Keras layers, and the table of the published models."""

import lazy_loader

from mobilenets.backend import check_backend, choose_backend

# The public names are declared in __init__.pyi. Each is imported on first use, so the table of models needs no Keras.
_public_name, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
choose_backend()


def __getattr__(name: str):
    if name == "__version__":
        from importlib.metadata import version

        return version("mobilenets")
    try:
        return _public_name(name)
    except ModuleNotFoundError:
        check_backend()
        raise
