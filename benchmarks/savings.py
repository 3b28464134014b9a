"""Changes to a model that make its training steps shorter, all of them within stock Keras layers."""

from collections.abc import Callable

import keras

from benchmarks.subjects import Work, new_model


def frozen(work: Work, freezes: Callable[[keras.Layer], bool]) -> keras.Model:
    """A new model without training in some layers; a frozen batch norm uses its moving statistics."""
    model = new_model(work)
    for layer in model.layers:
        layer.trainable = not freezes(layer)
    return model


def in_bfloat16(work: Work) -> keras.Model:
    """A new model that keeps its weights in float32 and computes in bfloat16."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return new_model(work)
    finally:
        keras.config.set_dtype_policy(policy)


# The first is what the others are compared with.
SAVINGS = {
    "none": new_model,
    "no weight decay": lambda work: new_model(work, weight_decay=None),
    "batch norms frozen": lambda work: frozen(work, lambda layer: isinstance(layer, keras.layers.BatchNormalization)),
    "all but the classification layer frozen": lambda work: frozen(work, lambda layer: "__Logits__" not in layer.name),
    "mixed bfloat16": in_bfloat16,
}
