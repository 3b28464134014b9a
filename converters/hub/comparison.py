"""A model and a TF-Hub module: every output, in inference and in training mode."""

import keras
import numpy as np

from converters.background import lacks_background
from converters.hub.module import HubModule
from converters.parity.comparison import compare_outputs
from converters.parity.exact import Exact, exact_values
from converters.parity.rows import REGULARIZATION, TRAINING, UPDATED, OutputRow


def compare_with_module(
    model: keras.Model, module: HubModule, images: np.ndarray, tolerance: float | None, momentum: float
) -> tuple[OutputRow, ...]:
    """Returns rows for inference, training mode, the moving statistics after one call in it, and the L2 sum.

    In training mode both sides compute batch norm with TensorFlow's fused op: Keras's own ops round in another order
    (see `converters.parity.fused_batch_norm`). Dropout is random, so what follows it is left out.

    Args:
        model: a network of this project.
        module: the reference.
        images: float32 ``(batch, height, width, 3)`` in [0, 1].
        tolerance: replaces the bounds of outputs; None for the rule of `converters.parity.comparison`.
        momentum: of the batch norms in the one call in training mode, in [0, 1).
    """
    exact = exact_values(model, images, momentum=momentum)
    call = module.train(images, momentum)
    reference = {
        **module.run(images),
        **{TRAINING + name: array for name, array in call.outputs.items()},
        **{UPDATED + name: array for name, array in call.moving_statistics.items()},
    }
    rows = compare_outputs(exact, reference, tolerance=tolerance)
    shapes = {name: array.shape for name, array in reference.items()}
    if any(lacks_background(array.shape, shapes.get(name)) for name, array in exact.values.items() if array.ndim):
        return rows  # the module's sum has the weights of class 0 in it
    loss = Exact({REGULARIZATION: exact.values[REGULARIZATION]}, exact.rounding)
    return rows + compare_outputs(loss, {REGULARIZATION: np.array(module.regularization_loss())})
