"""Faults to inject into a right model, one at a time: what a comparison has to notice.

`python -m tests.faults` prints the table of docs/parity.md: each fault by the old rule (float32 outputs within 1e-5 of
the reference's) and by the new one (docs/parity.md), for made-up and, where a folder of them is named, real weights.
"""

from collections.abc import Callable, Mapping

import keras
import numpy as np

import converters

Variables = dict[str, np.ndarray]


def _rebuilt(model: keras.Model, variables: Mapping[str, np.ndarray], **changes) -> keras.Model:
    """The network of these variables with other constructor arguments."""
    return converters.convert(dict(variables), input_shape=tuple(model.input_shape[1:]), **changes)


def _cloned(model: keras.Model, change: Callable[[keras.Layer, dict], keras.Layer | None]) -> keras.Model:
    """A copy with the same weights in which ``change(layer, config)`` may edit a configuration or give a new layer."""

    def copied(layer):
        config = layer.get_config()
        return change(layer, config) or type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


def _weights(change: Callable[[Variables, str], None]):
    """A fault of values: ``change(variables, scope of the network)`` edits them in place."""

    def inject(model):
        variables = {name: array.copy() for name, array in converters.slim_variables(model).items()}
        change(variables, next(iter(variables)).partition("/")[0])
        return _rebuilt(model, variables)

    return inject


def _kernels(variables: Variables, leaf: str) -> list[str]:
    return [name for name in variables if name.endswith(f"/{leaf}") and "/Logits/" not in name]


def _pair(variables: Variables, leaf: str) -> tuple[str, str]:
    """The last two variables of this leaf that have the same shape."""
    names = _kernels(variables, leaf)
    return next(
        (one, other)
        for index, one in reversed(list(enumerate(names)))
        for other in names[:index]
        if variables[one].shape == variables[other].shape
    )


def _swap(variables: Variables, one: str, other: str) -> None:
    variables[one], variables[other] = variables[other], variables[one]


def _middle(variables: Variables, leaf: str) -> str:
    names = _kernels(variables, leaf)
    return names[len(names) // 2]


def _batch_norm(variables: Variables) -> str:
    return _middle(variables, "beta").removesuffix("/beta")


def _edit(leaf: str, edit: Callable[[np.ndarray], np.ndarray]):
    def change(variables, scope):
        name = _middle(variables, leaf)
        variables[name] = np.ascontiguousarray(edit(variables[name]), np.float32)

    return _weights(change)


def _one_value(leaf: str, edit: Callable[[np.float32], np.float32]):
    """A fault of one value: the largest of the channel with the largest beta, in the second layer of its kind.

    A channel whose inputs to ReLU are all negative hides any fault; near the images, and with a large beta, few do.
    """

    def change(variables, scope):
        name = _kernels(variables, leaf)[1]
        stem = name.removesuffix(f"/{leaf}")
        beta = variables.get(f"{stem}/beta", variables.get(f"{stem}/BatchNorm/beta"))
        channel = variables[name][..., beta.argmax()].copy()
        index = np.abs(channel).argmax()
        channel.flat[index] = edit(channel.flat[index])
        variables[name] = variables[name].copy()
        variables[name][..., beta.argmax()] = channel

    return _weights(change)


def _exchange(one: str, other: str):
    def change(variables, scope):
        stem = _batch_norm(variables)
        _swap(variables, f"{stem}/{one}", f"{stem}/{other}")

    return _weights(change)


def _first_kernel(edit):
    def change(variables, scope):
        name = next(name for name in variables if name.endswith(("/weights", "/depthwise_weights")))
        variables[name] = np.ascontiguousarray(edit(variables[name]))

    return _weights(change)


def _logits(edit: Callable[[np.ndarray], np.ndarray], leaves: tuple[str, ...] = ("weights", "biases")):
    def change(variables, scope):
        for leaf in leaves:
            name = f"{scope}/Logits/Conv2d_1c_1x1/{leaf}"
            variables[name] = np.ascontiguousarray(edit(variables[name]))

    return _weights(change)


def _batch_norms(epsilon: float, only: int | None = None):
    def inject(model):
        norms = [layer.name for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        chosen = norms if only is None else [norms[only % len(norms)]]

        def change(layer, config):
            if layer.name in chosen:
                config["epsilon"] = epsilon

        return _cloned(model, change)

    return inject


def _activations(max_value: float | None, one: bool = False):
    def inject(model):
        names = [layer.name for layer in model.layers if isinstance(layer, keras.layers.ReLU)]
        chosen = [names[len(names) // 2]] if one else names

        def change(layer, config):
            if layer.name in chosen:
                config["max_value"] = max_value

        return _cloned(model, change)

    return inject


def _no_activation(model):
    names = [layer.name for layer in model.layers if isinstance(layer, keras.layers.ReLU)]

    def change(layer, config):
        return keras.layers.Identity(name=layer.name) if layer.name == names[len(names) // 2] else None

    return _cloned(model, change)


def _layers(suffix: str, **changes):
    """A fault of the configuration of all layers whose names end so, which have the setting already."""

    def inject(model):
        chosen = [
            layer.name
            for layer in model.layers
            if layer.name.endswith(suffix) and changes.keys() <= layer.get_config().keys()
        ]
        assert chosen

        def change(layer, config):
            if layer.name in chosen:
                config.update(changes)

        return _cloned(model, change)

    return inject


def _dilated(model):
    depthwise = [
        layer.name
        for layer in model.layers
        if isinstance(layer, keras.layers.DepthwiseConv2D) and layer.strides in (1, (1, 1))
    ]

    def change(layer, config):
        if layer.name == depthwise[len(depthwise) // 2]:
            config["dilation_rate"] = (2, 2)

    return _cloned(model, change)


def _no_residual(model):
    adds = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Add)]

    def change(layer, config):
        return Unadded(name=layer.name) if layer.name == adds[len(adds) // 2] else None

    return _cloned(model, change)


def _max_pooled(model):
    def change(layer, config):
        if isinstance(layer, keras.layers.GlobalAveragePooling2D):
            return keras.layers.GlobalMaxPooling2D(layer.data_format, keepdims=True, name=layer.name)
        return None

    return _cloned(model, change)


@keras.saving.register_keras_serializable("faults")
class Unadded(keras.layers.Layer):
    """Takes the place of a residual sum and returns what the block computed."""

    def call(self, inputs):
        return inputs[0]


@keras.saving.register_keras_serializable("faults")
class Padded(keras.layers.DepthwiseConv2D):
    """Pads both sides by one and computes without padding, as PyTorch does; SAME pads one side only at stride 2."""

    def call(self, inputs):
        return super().call(keras.ops.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]]))


def _explicit_padding(model):
    def change(layer, config):
        if isinstance(layer, keras.layers.DepthwiseConv2D) and layer.strides not in (1, (1, 1)):
            return Padded.from_config(config | {"padding": "valid"})
        return None

    return _cloned(model, change)


def _all_trainable(factor: float):
    def change(variables, scope):
        for name in variables:
            if "/moving_" not in name:
                variables[name] = variables[name] * np.float32(factor)

    return _weights(change)


FAULTS: dict[str, Callable[[keras.Model], keras.Model]] = {
    "two kernels of equal shape swapped": _weights(lambda v, s: _swap(v, *_pair(v, "weights"))),
    "two depthwise kernels of equal shape swapped": _weights(lambda v, s: _swap(v, *_pair(v, "depthwise_weights"))),
    "beta and moving mean exchanged": _exchange("beta", "moving_mean"),
    "one variance off by 1e-3": _edit("moving_variance", lambda a: a + np.float32(1e-3) * (a == a.min())),
    "one moving mean off by 1e-3 of its size": _one_value("moving_mean", lambda x: x * 1.001),
    "one weight off by 1e-3 of its size": _one_value("weights", lambda x: x * 1.001),
    "one weight off by one bit": _one_value("weights", lambda x: np.nextafter(x, np.float32(9))),
    "one weight zero": _one_value("weights", lambda x: x * 0),
    "one weight NaN": _one_value("weights", lambda x: np.float32(np.nan)),
    "one tensor negated": _edit("weights", lambda a: -a),
    "one kernel rounded to float16": _edit("weights", lambda a: a.astype(np.float16)),
    "a depthwise kernel turned by 180 degrees": _edit("depthwise_weights", lambda a: a[::-1, ::-1]),
    "a depthwise kernel transposed": _edit("depthwise_weights", lambda a: a.transpose(1, 0, 2, 3)),
    "two channels of a beta swapped": _edit("beta", lambda a: a[[1, 0, *range(2, len(a))]]),
    "trainable values 1 % larger (plain for averaged)": _all_trainable(1.01),
    "RGB read as BGR": _first_kernel(lambda a: a[:, :, ::-1]),
    "epsilon 1.001e-3": _batch_norms(1.001e-3),
    "epsilon 1.001e-3 in one batch norm": _batch_norms(1.001e-3, only=10),
    "epsilon 1e-5": _batch_norms(1e-5),
    "ReLU for ReLU6": _activations(None),
    "ReLU6 bounded by 6.0001": _activations(6.0001),
    "one ReLU6 missing": _no_activation,
    "images in [0, 1] taken as [-1, 1]": _layers("rescale_inputs", scale=1.0, offset=0.0),
    "input offset -1.0001": _layers("rescale_inputs", scale=2.0, offset=-1.0001),
    "input divided by 256 for 255": _layers("rescale_inputs", scale=2.0 * 255 / 256, offset=-1.0),
    "explicit padding at stride 2": _explicit_padding,
    "first stride 1": lambda model: _rebuilt(model, converters.slim_variables(model), first_stride=1),
    "output stride 16": lambda model: _rebuilt(model, converters.slim_variables(model), output_stride=16),
    "one dilation": _dilated,
    "maximum for average before the logits": _max_pooled,
    "a residual dropped": _no_residual,
    "bias forgotten": _logits(np.zeros_like, ("biases",)),
    "classes moved by one": _logits(lambda a: np.roll(a, 1, axis=-1)),
    "two classes swapped": _logits(lambda a: a[..., [1, 0, *range(2, a.shape[-1])]]),
    "all logits zero": _logits(np.zeros_like),
}


# Faults of what MobileNet V3 alone has: other readings of its gates and of hard-swish.
V3_FAULTS = {
    "gates multiplied by 1/6 for 0.16667": _layers("squeeze_excite__Conv_1__mul", scale=1 / 6),
    "gates shifted by 2.999": _layers("squeeze_excite__Conv_1__add", offset=2.999),
    "squeeze with a bound of 0.5": _layers("squeeze_excite__Conv__Relu", max_value=0.5),
    "hard-swish without an upper bound": _layers("hard_swish__Relu6", max_value=None),
    "hard-swish shifted by 2.999": _layers("hard_swish__add", offset=2.999),
}


def applicable(fault: str, model: keras.Model) -> bool:
    """Whether a fault can be injected into a model: it has a residual, logits or ReLU6 where the fault needs one."""
    kinds = {type(layer).__name__ for layer in model.layers}
    has_logits = any("Logits" in layer.name for layer in model.layers)
    needs_logits = ("bias", "classes", "logits")
    return not (
        (fault == "a residual dropped" and "Add" not in kinds)
        or (any(word in fault.split() for word in needs_logits) and "average" not in fault and not has_logits)
        or ("ReLU6" in fault and not any(getattr(layer, "max_value", None) for layer in model.layers))
        or (("stride 2" in fault or "dilation" in fault or "depthwise" in fault) and "DepthwiseConv2D" not in kinds)
        or ("output stride" in fault and "SeparableConv2D" in kinds)
    )


def old_rule(model: keras.Model, reference: Mapping[str, np.ndarray], images: np.ndarray) -> bool:
    """Whether the rule before the exact model finds a difference: float32 outputs within 1e-5 of the reference's."""
    from converters.parity.outputs import own_outputs

    outputs = own_outputs(model)(images)
    shared = outputs.keys() & reference.keys()
    with np.errstate(all="ignore"):
        return not all(
            outputs[name].shape == reference[name].shape
            and np.abs(outputs[name] - reference[name]).max() <= 1e-5 * np.abs(reference[name]).max()
            for name in shared
        )


def main(*checkpoints_and_graphs: str) -> None:
    """Prints the table of docs/parity.md.

    Args:
        checkpoints_and_graphs: pairs of a checkpoint (or module) with real weights and the graph (or module) it is
            compared with.
    """
    import pathlib
    import tempfile

    from converters.graphs.frozen_graph import FrozenGraph
    from converters.hub.module import open_hub_module
    from converters.network_files import is_hub_module
    from tests.oracle.files import freeze
    from tests.oracle.recipes import made_up_variables
    from tests.oracle.run import variable_shapes

    with tempfile.TemporaryDirectory() as folder:
        subjects = {}
        for family, multiplier in (("mobilenet_v1", 0.25), ("mobilenet_v2", 0.35)):
            variables = made_up_variables(variable_shapes(family, multiplier))
            graph = pathlib.Path(folder) / f"{family}.pb"
            freeze(graph, family, variables, depth_multiplier=multiplier, image_size=96)
            model = converters.convert(variables, input_shape=(96, 96, 3))
            subjects[f"{family}, made-up weights"] = model, graph
        for checkpoint, graph in zip(checkpoints_and_graphs[::2], checkpoints_and_graphs[1::2], strict=True):
            subjects[f"{pathlib.Path(checkpoint).name}, real weights"] = converters.convert(checkpoint), graph
        print("| fault |", " | ".join(f"{name}: old, new" for name in subjects), "| weights and structure |")
        print("|---|" + "---|" * (len(subjects) + 1))
        references = {}
        for name, (model, graph) in subjects.items():
            size = model.input_shape[1:3]
            images = np.random.default_rng(0).uniform(size=(2, *size, 3)).astype(np.float32)
            opened = open_hub_module(graph) if is_hub_module(graph) else FrozenGraph(graph)
            references[name] = images, opened.run(images)
        for fault, inject in FAULTS.items():
            cells = []
            for name, (model, graph) in subjects.items():
                if not applicable(fault, model):
                    cells.append("")
                    continue
                wrong = inject(model)
                images, reference = references[name]
                old = "found" if old_rule(wrong, reference, images) else "missed"
                report = converters.verify(wrong, graph, images)
                failure = report.first_failure
                new = f"found ({failure.reference_error:.0e})" if failure else "**missed**"
                cells.append(f"{old}, {new}")
            model = next(model for model, _ in subjects.values() if applicable(fault, model))
            weights = converters.verify(inject(model), converters.slim_variables(model))
            cells.append("missed" if weights.passed else f"found: {weights.first_failure.name.split('/')[-1]}")
            print(f"| {fault} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    import sys
    import warnings

    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
