"""Slim scopes as Keras layer names, and back.

A Keras layer name must not contain "/", and a "." breaks the module dictionaries of the torch backend. Slim scopes
never contain "__". So one substitution turns every scope into a layer name and back, for all networks and backends.
"""

SCOPES = {
    "mobilenet_v1": "MobilenetV1",
    "mobilenet_v2": "MobilenetV2",
    "mobilenet_v3": "MobilenetV3",
    "inception_v2": "InceptionV2",
}
"""Family -> the variable scope of its slim network."""


def layer_name(slim_scope: str) -> str:
    """Returns the Keras layer name of a slim scope.

    Example:
        >>> mobilenets.layer_name("MobilenetV2/Conv")
        'MobilenetV2__Conv'
    """
    return slim_scope.replace("/", "__")


def slim_name(layer_name: str) -> str:
    """Returns the slim scope of a Keras layer name: the inverse of `layer_name`.

    Example:
        >>> mobilenets.slim_name("MobilenetV2__Conv")
        'MobilenetV2/Conv'
    """
    return layer_name.replace("__", "/")
