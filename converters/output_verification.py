"""Compares the outputs of a model with those of a frozen graph, a hub module, a LiteRT model or transformers."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import keras
import numpy as np

import checkpoints
import mobilenets
from checkpoints.plain_text import few
from converters.errors import ConversionError
from converters.image_sizes import DEFAULT_IMAGE_SIZE
from converters.litert.reference import LiteRTReference
from converters.network_files import is_hub_module
from converters.opening import graph_file, is_folded, litert_file
from converters.parity.agreement import agreement_report
from converters.parity.comparison import FLOORS, compare_outputs
from converters.parity.exact import exact_values
from converters.parity.report import Report
from converters.parity.rows import OutputRow
from converters.parity.transformers_run import run_folder
from converters.tensorflow_extra import need_tensorflow
from converters.weights import weights_by_slim_name

SEED = 0


EPSILON_ROUNDING = 2.0**-23  # graphs hold a batch norm's epsilon as a float32


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
    need_tensorflow(f"The comparison with the outputs of {reference}")
    if checkpoints.is_transformers_folder(pathlib.Path(path)):
        return _with_transformers(name, model, path, reference, images, tolerance, partial)
    graph = graph_file(path)
    if graph is None and is_hub_module(path):
        return _with_module(name, model, path, reference, images, tolerance, dtype, momentum, partial)
    return _with_graph(name, model, graph or path, reference, images, tolerance, dtype, scope, partial)


def _with_graph(name, model, path, reference, images, tolerance, dtype, scope, partial) -> Report:
    from converters.graphs.frozen_graph import FrozenGraph

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
    rows = compare_outputs(exact, expected, graph.dtype, tolerance)
    if isinstance(graph, LiteRTReference):
        if graph.quantized:
            return agreement_report(name, reference, rows, note, endpoints, partial)
    else:
        rows += _epsilon_rows(model, graph.epsilons)
    notes = [note, f"The reference was computed in {graph.dtype}.", *_own_dtype_notes(model, rows)]
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


def _own_dtype_notes(model: keras.Model, rows: Sequence[OutputRow]) -> list[str]:
    """Returns what a model that does not compute in float32 or float64 gives itself."""
    dtypes = {layer.compute_dtype for layer in model.layers} - {"float32", "float64"}
    own = [row for row in rows if row.model_error is not None]
    if not dtypes or not own:
        return []
    worst = max(own, key=lambda row: row.model_error or 0.0)
    return [
        f"The model computes in {', '.join(sorted(dtypes))}: its own outputs are up to {worst.model_error:.1e} from "
        f"the exact model ({worst.name}). The exact model judges its weights, not this rounding."
    ]


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
    from converters.hub.comparison import compare_with_module
    from converters.hub.module import open_hub_module

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
    rows = compare_outputs(exact, expected, "float32", tolerance)
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
    return dataclasses.replace(report, notes=tuple(notes))


def _images(
    model: keras.Model, reference_size: tuple[int | None, int | None], images: np.ndarray | None
) -> tuple[np.ndarray, str]:
    """Returns the images to compare on, of the size that both sides take, and a note on them."""
    size, channels = [], model.input_shape[3]
    for ours, theirs in zip(model.input_shape[1:3], reference_size, strict=True):
        if None not in (ours, theirs) and ours != theirs:
            raise ConversionError(
                f"The model takes images of {model.input_shape[1:3]}, the reference {reference_size}."
            )
        size.append(ours or theirs)
    if images is None:
        height, width = (length or DEFAULT_IMAGE_SIZE for length in size)
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
