"""The exact model: our network in float64, which measures how much of a difference rounding explains.

In float64 a model of stock layers computes what slim's network computes, to 1e-13. So it measures both sides: a
reference in float32 is right where its distance from the exact values is no more than the rounding of float32, and how
much that is at an endpoint, our own float32 model shows. Everything here runs on Keras's TensorFlow backend, because
Keras casts batch norm to float32 on the others; a program on another backend starts a process for it.
"""

import json
import pathlib
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from converters.parity.rows import REGULARIZATION, TRAINING, UPDATED
from converters.tensorflow_extra import run_on_tensorflow

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Exact:
    """What the exact model computes, and how far float32 is from it.

    Attributes:
        values: ``{name: float64 array}``: endpoints by hub name and ``default``; where training mode was asked for
            also ``training: <endpoint>``, ``after it: <moving statistic>`` and ``regularization loss``.
        rounding: ``{name: largest difference between our float32 model and the exact value}``, relative to the
            largest absolute exact value.
        own: ``{name: array}``: the endpoints and ``default`` of the model as it is, in its own dtypes and backend.
    """

    values: Arrays
    rounding: Mapping[str, float]
    own: Arrays = field(default_factory=dict)


def relative_error(values: np.ndarray, exact: np.ndarray) -> float:
    """Returns ``max|values - exact| / max|exact|``; NaN where the shapes differ or a value is not finite."""
    if values.shape != exact.shape:
        return float("nan")
    difference = float(np.abs(values.astype(np.float64) - exact).max(initial=0))
    scale = float(np.abs(exact).max(initial=0))
    return difference / scale if scale else difference


def exact_values(
    model: keras.Model,
    images: np.ndarray,
    *,
    momentum: float | None = None,
    folded: bool = False,
    float64: bool = False,
) -> Exact:
    """Computes a model in float64 and measures the rounding of its float32 copy, on TensorFlow.

    Args:
        model: a network of this project, of any dtype policy and on any backend.
        images: ``(batch, height, width, 3)`` in [0, 1].
        momentum: batch norm momentum of one call in training mode; None for inference only.
        folded: whether one side has batch norms that are folded into float32 weights on the other, which rounds the
            weights. The rounding of `mobilenets.fuse`'s model then counts too; for a model without batch norms, how
            far its outputs move where every weight moves by half of float32's last place.
        float64: whether the reference computes in float64, so that only folding rounds.
    """
    if keras.backend.backend() == "tensorflow":
        return _computed(model, images, momentum, folded, float64)
    with tempfile.TemporaryDirectory() as folder:
        exact = _in_another_process(pathlib.Path(folder), model, images, momentum, folded, float64)
    return replace(exact, own=_own(model, images))


def _computed(model, images, momentum, folded, float64) -> Exact:
    import mobilenets
    from converters.parity.outputs import endpoints_as_built, in_dtype

    double, single = in_dtype(model, "float64"), in_dtype(model, "float32")
    values = dict(with_default(endpoints_as_built(double, "float64")(images)))
    rounding = dict.fromkeys(values, 0.0)
    own: Arrays = dict(values) if double is model else {}
    if not float64:
        outputs = with_default(endpoints_as_built(single, "float32")(images))
        own = outputs if single is model else own
        rounding = {name: relative_error(outputs[name], values[name]) for name in values}
    if folded and not any(layer.__class__.__name__.endswith("BatchNormalization") for layer in model.layers):
        outputs = with_default(endpoints_as_built(_moved(double), "float64")(images))
        for name in values:
            rounding[name] = max(rounding[name], relative_error(outputs[name], values[name]))
    elif folded:
        # The folded weights are rounded to float32 whatever the graph computes in.
        dtype = "float64" if float64 else "float32"
        outputs = with_default(endpoints_as_built(in_dtype(mobilenets.fuse(single), dtype), dtype)(images))
        for name in outputs.keys() & values.keys():
            rounding[name] = max(rounding[name], relative_error(outputs[name], values[name]))
    if momentum is not None:
        _add_training(model, double, single, images, momentum, values, rounding)
    return Exact(values, rounding, own or _own(model, images))


def _own(model: keras.Model, images: np.ndarray) -> Arrays:
    from converters.parity.outputs import own_outputs

    return with_default(own_outputs(model)(images))


def _moved(double: keras.Model) -> keras.Model:
    """Returns a float64 copy whose weights differ by 2**-24 of their value, the most that rounding to float32 does."""
    from converters.parity.outputs import with_dtype

    copy, rng = with_dtype(double, "float64"), np.random.default_rng(0)
    copy.set_weights(
        [weight * (1 + 2.0**-24 * rng.choice((-1.0, 1.0), size=weight.shape)) for weight in double.get_weights()]
    )
    return copy


def _add_training(model, double, single, images, momentum, values, rounding) -> None:
    """One call in training mode, exact and with TensorFlow's fused batch norm in float32, as hub modules compute it.

    The fused op hands out the unbiased variance of a batch, and so does the exact model.
    """
    import mobilenets
    from converters.parity.fused_batch_norm import FusedBatchNormalization
    from converters.parity.outputs import endpoints_as_built
    from converters.weights import slim_variables

    def trained(network, dtype, batch_norm):
        copy = mobilenets.with_batch_norm(network, batch_norm, momentum=momentum)
        outputs = with_default(endpoints_as_built(copy, dtype, training=True)(images))
        # Dropout is random, so what follows it is left out.
        kept = {name: array for name, array in outputs.items() if not name.endswith(("/Logits", "/Predictions"))}
        if len(model.output_shape) == 2 and len(kept) < len(outputs):
            kept.pop("default", None)
        moving = {name: array for name, array in slim_variables(copy).items() if "/moving_" in name}
        return {TRAINING + name: array for name, array in kept.items()} | {
            UPDATED + name: array for name, array in moving.items()
        }

    exact = trained(double, "float64", mobilenets.BesselBatchNormalization)
    for name, array in trained(single, "float32", FusedBatchNormalization).items():
        rounding[name] = relative_error(array, exact[name])
    values.update(exact)
    # Keras keeps the factor of a regularization loss in float32, so it is summed here.
    values[REGULARIZATION] = np.array(
        sum(
            float(layer.kernel_regularizer.l2) * float(np.square(np.asarray(layer.kernel, np.float64)).sum())
            for layer in model.layers
            if getattr(layer, "kernel_regularizer", None) is not None
        )
    )
    rounding[REGULARIZATION] = relative_error(
        np.array(sum(float(loss) for loss in model.losses)), values[REGULARIZATION]
    )


def with_default(outputs: Arrays) -> Arrays:
    """Adds what a hub module calls ``default``: the logits, or else the pooled features without their 1x1 axes."""
    last = next((array for name, array in outputs.items() if name.endswith("/Logits")), None)
    if last is None:
        pooled = next((array for name, array in outputs.items() if name.endswith("/global_pool")), None)
        last = None if pooled is None else pooled.reshape(len(pooled), -1)
    return outputs if last is None else {**outputs, "default": last}


def _in_another_process(folder, model, images, momentum, folded, float64) -> Exact:
    model.save(folder / "model.keras")
    np.savez(folder / "images.npz", images=images)
    request = {"momentum": momentum, "folded": folded, "float64": float64}
    run_on_tensorflow(__name__, "The exact model, in float64,", folder, request)
    with np.load(folder / "exact.npz", allow_pickle=False) as arrays:
        values = dict(arrays)
    return Exact(values, json.loads((folder / "rounding.json").read_text()))


def _serve(folder: pathlib.Path, request: Mapping) -> None:
    import mobilenets  # noqa: F401  registers its layers for loading
    from converters.keras_file import open_keras_file

    model = open_keras_file(folder / "model.keras")
    with np.load(folder / "images.npz", allow_pickle=False) as arrays:
        exact = exact_values(model, arrays["images"], **request)
    values: dict[str, Any] = dict(exact.values)  # not to be taken for `allow_pickle` by a type checker
    np.savez(folder / "exact.npz", **values)
    (folder / "rounding.json").write_text(json.dumps(exact.rounding))


if __name__ == "__main__":
    _serve(pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]))
