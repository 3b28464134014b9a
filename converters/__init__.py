"""From files of slim variables to Keras models, and the proof that both compute the same."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "assignment": ["assign", "slim_variables"],
        "conversion": ["Conversion", "conversion_of", "convert"],
        "errors": ["ConversionError", "ConversionWarning"],
        "exports": ["Export", "ExportMismatch", "export"],
        "hub_export": ["export_hub"],
        "inference": ["inference_function"],
        "manifest": ["load_model", "read_manifest", "save_model"],
        "verification": ["verify"],
    },
)
