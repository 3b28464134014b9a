"""From files of slim variables to Keras models, and the proof that both compute the same."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "assignment": ["assign", "slim_variables"],
        "conversion": ["Conversion", "conversion_of", "convert"],
        "embedding": ["embed"],
        "errors": ["ConversionError", "ConversionWarning"],
        "evaluation": ["evaluate"],
        "exports": ["Export", "ExportMismatch", "export"],
        "hub_export": ["export_hub"],
        "image_files": ["ImagePaths"],
        "image_models": ["open_image_model"],
        "inference": ["inference_function"],
        "manifest": ["load_model", "read_manifest", "save_model"],
        "prediction": ["predict"],
        "verification": ["verify"],
    },
)
