"""From files of slim variables to Keras models, and the proof that both compute the same."""

import lazy_loader

from mobilenets.backend import check_backend

_public_name, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "conversion": ["Conversion", "conversion_of", "convert"],
        "create": ["create_model"],
        "errors": ["ConversionError", "ConversionWarning", "VerificationError"],
        "exporting.exports": ["Export", "ExportMismatch", "export"],
        "hub.export": ["export_hub"],
        "images.embedding": ["embed"],
        "images.evaluation": ["evaluate"],
        "images.image_paths": ["ImagePaths"],
        "images.models": ["open_image_model"],
        "images.prediction": ["predict"],
        "runtimes.inference": ["inference_function"],
        "keras_file": ["load_model"],
        "manifest": ["read_manifest"],
        "saving": ["save_model"],
        "sources": ["Source", "find_source"],
        "verification": ["verify"],
        "weights": ["assign", "slim_variables"],
    },
)


def __getattr__(name: str):
    try:
        return _public_name(name)
    except ModuleNotFoundError:
        check_backend()
        raise
