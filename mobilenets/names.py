"""Slim scopes as Keras layer names, and back.

Keras layer names may not hold "/", and a "." breaks the module dictionaries of the torch backend; slim scopes never
hold "__". So one substitution carries every scope into a layer name and back, for all networks and on all backends.
"""

SCOPES = {
    "mobilenet_v1": "MobilenetV1",
    "mobilenet_v2": "MobilenetV2",
    "inception_v2": "InceptionV2",
}
"""Family -> the variable scope of its slim network."""


def layer_name(slim_scope: str) -> str:
    """The Keras layer name of a slim scope: ``MobilenetV2/Conv`` -> ``MobilenetV2__Conv``."""
    return slim_scope.replace("/", "__")


def slim_name(layer_name: str) -> str:
    """The slim scope of a Keras layer name: the inverse of `layer_name`."""
    return layer_name.replace("__", "/")
