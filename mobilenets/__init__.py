"""MobileNet V1, MobileNet V2 and Inception V2 in stock Keras layers, and what is known of the published models."""

import lazy_loader

# Nothing heavy is imported before it is used: neither Keras nor its backend for a look at the table of models.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "batch_norm": ["BesselBatchNormalization", "set_batch_norm_momentum", "with_batch_norm"],
        "factory": ["build"],
        "families": ["variable_shapes", "widths"],
        "fusing": ["fuse"],
        "inception_v2": ["InceptionV2"],
        "mobilenet_v1": ["MobileNetV1"],
        "mobilenet_v2": ["MobileNetV2"],
        "preprocessing": ["preprocess"],
        "published": ["ModelInfo", "get_model_info", "list_models"],
        "endpoint_layers": ["endpoints"],
    },
)
