"""A model against a TF-Hub module: every output, in inference and in training mode."""

import keras
import numpy as np

import mobilenets
from converters.assignment import slim_variables
from converters.fused_batch_norm import FusedBatchNormalization
from converters.parity.comparison import OutputRow, compare_outputs
from converters.parity.hub_module import HubModule
from converters.parity.outputs import endpoint_function

REGULARIZATION_TOLERANCE = 1e-6


def compare_with_module(
    model: keras.Model, module: HubModule, images: np.ndarray, tolerance: float, momentum: float
) -> tuple[OutputRow, ...]:
    """Rows for inference, for training mode, for the moving statistics after one call in it, and for the L2 sum.

    In training mode the model's batch norms are computed with TensorFlow's fused op, as the module does: Keras's own
    ops round in another order (see `converters.fused_batch_norm`). Dropout is random, so what comes after it is left
    out there.

    Args:
        model: a float32 network.
        module: the reference.
        images: float32 ``(batch, height, width, 3)`` in [0, 1].
        tolerance: relative to the largest absolute value of an output.
        momentum: of the batch norms in the one call in training mode, in [0, 1).
    """
    outputs = endpoint_function(model, "float32")(images)
    outputs["default"] = _default(outputs, model)
    rows = compare_outputs(outputs, module.run(images), tolerance)

    trained = mobilenets.with_batch_norm(model, FusedBatchNormalization, momentum=momentum)
    call = module.train(images, momentum)
    outputs = endpoint_function(trained, "float32", training=True)(images)
    deterministic = {name: array for name, array in outputs.items() if not name.endswith(("/Logits", "/Predictions"))}
    if len(model.output_shape) == 2 and not any(name.endswith("/Logits") for name in outputs):
        deterministic["default"] = _default(outputs, model)
    rows += _titled("training: ", compare_outputs(deterministic, call.outputs, tolerance))
    moving = {name: array for name, array in slim_variables(trained).items() if name in call.moving_statistics}
    rows += _titled("after it: ", compare_outputs(moving, call.moving_statistics, tolerance))

    losses = {"regularization loss": np.array(sum(float(loss) for loss in model.losses))}
    expected = {"regularization loss": np.array(module.regularization_loss())}
    return rows + compare_outputs(losses, expected, REGULARIZATION_TOLERANCE)


def _default(outputs: dict[str, np.ndarray], model: keras.Model) -> np.ndarray:
    """What a module calls ``default``: the logits, or else the pooled features without their 1x1 axes."""
    last = next((array for name, array in outputs.items() if name.endswith("/Logits")), None)
    if last is not None:
        return last
    return next(array for name, array in outputs.items() if name.endswith("/global_pool"))[:, 0, 0]


def _titled(title: str, rows: tuple[OutputRow, ...]) -> tuple[OutputRow, ...]:
    return tuple(OutputRow(**{**vars(row), "name": title + row.name}) for row in rows)
