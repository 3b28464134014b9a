"""Compares a model with a reference: a checkpoint, a manifest, a frozen graph, a hub module."""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import TypeGuard

import keras
import numpy as np

import checkpoints
import mobilenets
from converters.copies import open_copy
from converters.errors import ConversionError
from converters.exporting.transformers_run import run_folder
from converters.graphs.frozen_graph import FrozenGraph
from converters.hub.comparison import compare_with_module
from converters.hub.module import is_hub_module, open_hub_module
from converters.keras_file import open_keras_file
from converters.litert.reference import LiteRTReference
from converters.network_files import sole_network
from converters.opening import graph_file, is_folded, litert_file, open_source
from converters.parity.agreement import agreement_report
from converters.parity.comparison import FLOORS, compare_outputs
from converters.parity.exact import exact_values, with_default
from converters.parity.outputs import own_outputs
from converters.parity.report import OutputRow, Report
from converters.parity.weights import verify_manifest, verify_structure, verify_variables
from converters.sources import Source, Variables, find_source
from converters.text import few
from converters.weights import slim_variables, weights_by_slim_name
from mobilenets.options import check_momentum

SEED = 0
EPSILON_ROUNDING = 2.0**-23  # graphs hold a batch norm's epsilon as a float32


def verify(
    model: keras.Model | str | pathlib.Path,
    reference: Variables | Source,
    images: np.ndarray | None = None,
    tolerance: float | None = None,
    *,
    ema: str = "auto",
    dtype: str | None = None,
    batch_norm_momentum: float = 0.99,
    partial: bool = False,
    name: str | None = None,
    scope: str | None = None,
) -> Report:
    """Compares a model with a reference: weights bit for bit, or outputs endpoint by endpoint.

    Outputs are judged by the exact model, our network in float64: the reference may be as far from it as float32
    rounding explains (docs/parity.md). With weights, the structure of the model is compared too: layer types, strides,
    padding, epsilon, activations and input scaling, with those of the network that the weights belong to.

    Args:
        model: a network of this project, or the path of its ``.keras`` file; to compare weights also any other source
            of slim variables (for example, to learn whether a hub module holds averaged or plain values).
        reference: a manifest (``.json``) or a source of variables that `converters.convert` takes, to compare weights;
            a frozen graph (``.pb``) or a TF-Hub module (its folder or ``.tar.gz``), to compare outputs. With a module,
            training mode is compared too: outputs, moving statistics after one call, sum of regularization losses.
            Or a published model by its name or hub handle: its checkpoint is fetched, and where the checksums in its
            hub module are known, weights are compared with those too.
        images: float ``(batch, height, width, 3)`` in [0, 1] for outputs; by default two images of seeded noise.
        tolerance: of outputs, relative to the endpoint's largest absolute value; replaces the bound of every endpoint.
        ema: which values of a checkpoint the weights must equal: "always" the averaged ones, "never" the plain ones,
            "auto" whichever of the two the model holds (the report's notes say which).
        dtype: "float32" or "float64", to compute outputs of a frozen graph in; by default its own.
        batch_norm_momentum: of the one call in training mode, in [0, 1).
        partial: whether a reference with fewer than half of the model's endpoints is enough.
        name: what to call the model in the report.
        scope: the scope of the network in a reference that has several.

    Returns:
        The report. `Report.passed` says whether all agrees.

    Raises:
        ConversionError: the two cannot be compared.
        checkpoints.CheckpointError: the reference cannot be read or fetched.
        ValueError: an argument is out of range.

    Example:
        >>> import converters
        >>> report = converters.verify(model, converters.slim_variables(model))  # or two paths
        >>> report.passed
        True
    """
    if dtype not in (None, *FLOORS):
        raise ValueError(f"dtype is {dtype!r}; it must be one of {', '.join(FLOORS)}.")
    check_momentum(batch_norm_momentum)
    _check_order(model, reference)
    name = name or (model.name if isinstance(model, keras.Model) else str(model))
    source = find_source(reference)
    origin, published = source.path, source.published
    with source.unpacked():
        with _graph_or_source(origin) as unpacked:
            if _gives_outputs(unpacked) and _is_network(model):
                loaded = model if isinstance(model, keras.Model) else open_keras_file(model)
                return verify_outputs(
                    name, loaded, unpacked, str(origin), images, tolerance, dtype, batch_norm_momentum, partial, scope
                )
        if images is not None or tolerance is not None or dtype is not None:
            raise ConversionError(
                f"{origin} gives weights, which are compared bit for bit; images, tolerance and dtype are for outputs."
            )
        with _variables(model) as (network, variables):
            return _verify_weights(name, network, variables, origin, ema, published, scope)


def _verify_weights(name, network, variables, reference, ema, published, scope) -> Report:
    if not isinstance(reference, Mapping) and pathlib.Path(reference).suffix == ".json":
        return verify_manifest(name, variables, reference, network)
    with open_copy(reference, ema) as expected:
        report = verify_variables(name, variables, expected, str(expected.path), ema, published, scope)
        if expected.copy and ema == "auto" and not report.passed:
            # The model may hold the values of the other checkpoint.
            with open_copy(reference, "never") as other:
                pristine = verify_variables(name, variables, other, str(other.path), "never", published, scope)
            report = pristine if pristine.passed else report
    return report if network is None else verify_structure(report, network)


def verify_outputs(
    name: str,
    model: keras.Model,
    path: str | os.PathLike[str],
    reference: str,
    images: np.ndarray | None = None,
    tolerance: float | None = None,
    dtype: str | None = None,
    momentum: float = 0.99,
    partial: bool = False,
    scope: str | None = None,
) -> Report:
    """Compares the outputs of a model with those of a frozen graph, a hub module or transformers; see `verify`.

    Args:
        path: of the graph, the module's folder, or a folder of transformers, which is installed.
        reference: what to call it in the report.
    """
    if checkpoints.is_transformers_folder(pathlib.Path(path)):
        return _with_transformers(name, model, path, reference, images, tolerance, partial)
    graph = graph_file(path)
    if graph is None and is_hub_module(path):
        return _with_module(name, model, path, reference, images, tolerance, dtype, momentum, partial)
    return _with_graph(name, model, graph or path, reference, images, tolerance, dtype, scope, partial)


def _check_order(model: object, reference: object) -> None:
    if isinstance(reference, keras.Model) or _is_keras_file(reference):
        raise ConversionError(
            f"The reference {getattr(reference, 'name', reference)} is a Keras model. Give the Keras model first and "
            "what to compare it with second."
        )


def _is_keras_file(path: object) -> bool:
    return isinstance(path, str | pathlib.Path) and pathlib.Path(path).suffix == ".keras"


def _is_network(model: object) -> bool:
    return isinstance(model, keras.Model) or _is_keras_file(model)


def _gives_outputs(reference: Variables) -> TypeGuard[str | os.PathLike[str]]:
    if isinstance(reference, Mapping):
        return False
    # A file that is missing or empty is a graph by its suffix, for the message.
    return (
        pathlib.Path(reference).suffix in (".pb", ".tflite")
        or is_hub_module(reference)
        or graph_file(reference) is not None
    )


@contextlib.contextmanager
def _graph_or_source(reference: Variables) -> Iterator[Variables]:
    """The reference, or the hub module, the only graph or the only LiteRT model in it if it is an archive of one."""
    if isinstance(reference, Mapping) or not checkpoints.is_archive(pathlib.Path(reference)):
        yield reference
        return
    with checkpoints.unpacked(reference) as folder:
        modules = [file.parent for file in sorted(folder.rglob("saved_model.pb"))]
        yield next(filter(is_hub_module, modules), None) or sole_network(folder) or reference


@contextlib.contextmanager
def _variables(
    model: keras.Model | str | pathlib.Path,
) -> Iterator[tuple[keras.Model | None, Mapping[str, np.ndarray]]]:
    """The model, where it is one of Keras, and its slim variables."""
    if _is_keras_file(model):
        model = open_keras_file(model)
    if isinstance(model, keras.Model):
        yield model, slim_variables(model)
    else:
        with open_source(model) as variables:
            yield None, variables


def _with_graph(name, model, path, reference, images, tolerance, dtype, scope, partial) -> Report:
    graph: FrozenGraph | LiteRTReference
    if litert_file(path) is None:
        graph = FrozenGraph(path, float64=dtype == "float64", scope=scope)
    elif dtype == "float64":
        raise ConversionError(f"{reference} is a LiteRT model, which computes in float32 or in integers only.")
    else:
        graph = LiteRTReference(path)
    if graph.channels != model.input_shape[3]:
        raise ConversionError(
            f"The model takes images of {model.input_shape[3]} channels, the reference of {graph.channels}."
        )
    images, note = _images(model, graph.image_size, images)
    expected = graph.run(images)
    endpoints = mobilenets.endpoints(model)
    if not endpoints.keys() & expected.keys():
        raise ConversionError(
            f"{name} and {reference} are different networks and share no endpoint: {few(endpoints, 5)} in the model, "
            f"{few(expected, 5)} in the reference."
        )
    folded_model = is_folded(weights_by_slim_name(model))
    folded = graph.scales_outputs if folded_model else graph.folded
    exact = exact_values(model, images, folded=folded, float64=graph.dtype == "float64")
    rows = compare_outputs(exact, expected, with_default(own_outputs(model)(images)), graph.dtype, tolerance)
    if isinstance(graph, LiteRTReference):
        if graph.quantized:
            return agreement_report(name, reference, rows, note, endpoints, partial)
    else:
        rows += _epsilon_rows(model, graph.epsilons)
    notes = [note, f"The reference was computed in {graph.dtype}."]
    if folded:
        notes.append(
            f"Batch norms are folded into the weights of the {'model' if folded_model else 'reference'}, which rounds "
            "them; the bound allows for it."
        )
    if graph.trains:
        notes.append(
            "The reference runs in training mode (is_training=True): its batch norms compute with the statistics of "
            "the batch, and its outputs differ from those in inference mode."
        )
    least = FLOORS[graph.dtype] if tolerance is None else tolerance
    return _report(name, reference, rows, least, notes, endpoints, partial)


def _epsilon_rows(model: keras.Model, epsilons: Mapping[str, float]) -> tuple[OutputRow, ...]:
    """A row for each batch norm whose epsilon is not the graph's: a small change of it is within float32 rounding."""
    layers = {mobilenets.slim_name(layer.name): layer for layer in model.layers}
    rows = []
    for scope, expected in epsilons.items():
        ours = getattr(layers.get(scope), "epsilon", expected)
        difference = abs(ours - expected)
        if difference > EPSILON_ROUNDING * abs(expected):
            error = difference / max(abs(ours), 1e-30)
            rows.append(
                OutputRow(
                    f"layer {scope}: epsilon", (), (), error, 0.0, EPSILON_ROUNDING, None, difference, 1.0, None, False
                )
            )
    return tuple(rows)


def _with_module(name, model, path, reference, images, tolerance, dtype, momentum, partial) -> Report:
    if dtype == "float64":
        raise ConversionError(f"{reference} is a hub module, which computes in float32 only.")
    module = open_hub_module(path)
    images, note = _images(model, module.image_size, images)
    rows = compare_with_module(model, module, images.astype(np.float32), tolerance, momentum)
    trained = (
        f"In training mode with batch norm momentum {momentum:g}."
        if module.takes_momentum
        else "In training mode without moving statistics: the module takes no momentum (since version 3 they do)."
    )
    least = FLOORS["float32"] if tolerance is None else tolerance
    return _report(name, reference, rows, least, [note, trained], mobilenets.endpoints(model), partial)


def _with_transformers(name, model, path, reference, images, tolerance, partial) -> Report:
    images, note = _images(model, (None, None), images)
    expected = run_folder(path, 2 * images - 1)
    exact = exact_values(model, images)
    rows = compare_outputs(exact, expected, with_default(own_outputs(model)(images)), "float32", tolerance)
    least = FLOORS["float32"] if tolerance is None else tolerance
    notes = [note, "The reference was computed by transformers in float32."]
    return _report(name, reference, rows, least, notes, mobilenets.endpoints(model), partial)


def _report(name, reference, rows, tolerance, notes, endpoints, partial) -> Report:
    report = Report("outputs", name, reference, rows, tolerance, tuple(notes), len(endpoints), partial)
    missing = [endpoint for endpoint in endpoints if endpoint not in {row.name for row in rows}]
    if missing:
        notes.append(f"The reference has no {few(missing, 5)}.")
    if not report.enough:
        notes.append(
            "Fewer than half of the model's endpoints were compared, so this proves too little to pass; say --partial "
            "(partial=True) if they are enough for you."
        )
    return Report("outputs", name, reference, rows, tolerance, tuple(notes), len(endpoints), partial)


def _images(
    model: keras.Model, reference_size: tuple[int | None, int | None], images: np.ndarray | None
) -> tuple[np.ndarray, str]:
    """The images to compare on, of the size that both sides take, and a note on them."""
    size, channels = [], model.input_shape[3]
    for ours, theirs in zip(model.input_shape[1:3], reference_size, strict=True):
        if None not in (ours, theirs) and ours != theirs:
            raise ConversionError(
                f"The model takes images of {model.input_shape[1:3]}, the reference {reference_size}."
            )
        size.append(ours or theirs)
    if images is None:
        height, width = (length or 224 for length in size)
        noise = np.random.default_rng(SEED).uniform(size=(2, height, width, channels)).astype(np.float32)
        return noise, f"On 2 images of {height}x{width} seeded noise (seed {SEED})."
    images = np.asarray(images)
    expected = (len(images) if images.ndim else 0, *size, channels)
    if (
        images.ndim != 4
        or not len(images)
        or any(want not in (None, have) for want, have in zip(expected, images.shape, strict=True))
    ):
        raise ConversionError(
            f"The images have the shape {images.shape}; expected (batch, {size[0]}, {size[1]}, {channels})."
        )
    mobilenets.check_image_range(images)
    return images, f"On {len(images)} images of the caller."
