"""Slim variables and Keras weights: one naming, read in both directions.

A layer's name is its slim scope with ``__`` for ``/``, so the whole mapping is that substitution and the table of
leaf names below. It needs no list per network and holds for a model that was saved and loaded again.
"""

import keras

from converters.errors import ConversionError
from mobilenets import SCOPES, slim_name

# Layer type -> {name of the Keras weight: last part of the slim variable's name}.
LEAVES = {
    keras.layers.Conv2D: {"kernel": "weights", "bias": "biases"},
    keras.layers.DepthwiseConv2D: {"kernel": "depthwise_weights", "bias": "biases"},
    keras.layers.SeparableConv2D: {
        "depthwise_kernel": "depthwise_weights",
        "pointwise_kernel": "pointwise_weights",
        "bias": "biases",
    },
    keras.layers.BatchNormalization: {
        "gamma": "gamma",
        "beta": "beta",
        "moving_mean": "moving_mean",
        "moving_variance": "moving_variance",
    },
}

# The variables of a network that no optimizer touches, by leaf; all others are trainable.
MOVING_STATISTICS = ("moving_mean", "moving_variance")


def leaf(name: str) -> str:
    """The last part of a slim variable's name."""
    return name.rpartition("/")[2]


def is_trainable(name: str) -> bool:
    """Whether slim trains the variable ``name`` (moving statistics are updated, not trained)."""
    return leaf(name) not in MOVING_STATISTICS


def is_logits(name: str) -> bool:
    """Whether the variable belongs to the classification layer."""
    return "/Logits/" in name


def weights_by_slim_name(model: keras.Model) -> dict[str, keras.Variable]:
    """Every weight of ``model`` under the name of its slim variable.

    Args:
        model: a network of this project, built, converted or loaded.

    Raises:
        ConversionError: the model has weights outside the slim scopes, or of a layer type that slim does not know.
    """
    named, foreign = {}, []
    for layer in model.layers:
        # A dropout's seed is state, and on some backends counted as a weight.
        if not layer.weights or isinstance(layer, keras.layers.Dropout):
            continue
        leaves = next((table for kind, table in LEAVES.items() if isinstance(layer, kind)), None)
        if leaves is None or not layer.name.startswith(tuple(scope + "__" for scope in SCOPES.values())):
            foreign.append(layer.name)
            continue
        scope = slim_name(layer.name)
        named.update({f"{scope}/{leaves[weight.name]}": weight for weight in layer.weights})
    if foreign:
        raise ConversionError(
            f"The layers {', '.join(foreign)} of the model {model.name!r} hold weights but belong to no slim scope "
            f"({', '.join(SCOPES.values())}); pass the network that was built or converted here, without layers of "
            "your own."
        )
    if not named:
        raise ConversionError(f"The model {model.name!r} has no weights of a slim network.")
    return named


def family_of(model: keras.Model) -> str:
    """The family whose scope the layers of ``model`` bear.

    Raises:
        ConversionError: it has weights outside the slim scopes, or none.
    """
    scope = next(iter(weights_by_slim_name(model))).partition("/")[0]
    return next(family for family, known in SCOPES.items() if known == scope)
