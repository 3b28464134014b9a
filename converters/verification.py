"""Compares a model with a reference: a checkpoint, a manifest, a frozen graph, a hub module."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import TypeGuard

import keras
import numpy as np

import checkpoints
from converters.copies import open_copy
from converters.errors import ConversionError
from converters.keras_file import open_keras_file
from converters.manifest_file import is_of_another
from converters.network_files import is_hub_module, sole_network
from converters.opening import graph_file, open_source
from converters.output_verification import verify_outputs
from converters.parity.comparison import FLOORS
from converters.parity.report import Report
from converters.parity.weights import verify_manifest, verify_structure, verify_variables
from converters.sources import Source, Variables, find_source
from converters.weights import slim_variables
from mobilenets.options import check_momentum


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
        report = verify_manifest(name, variables, reference, network)
        if is_of_another(pathlib.Path(reference), pathlib.Path(name)):
            note = f"{reference} is the manifest of another conversion than {name}, which has its own in the file."
            report = dataclasses.replace(report, notes=(*report.notes, note))
        return report
    with open_copy(reference, ema) as expected:
        report = verify_variables(name, variables, expected, str(expected.path), ema, published, scope)
        if expected.copy and ema == "auto" and not report.passed:
            # The model may hold the values of the other checkpoint.
            with open_copy(reference, "never") as other:
                pristine = verify_variables(name, variables, other, str(other.path), "never", published, scope)
            report = pristine if pristine.passed else report
    return report if network is None else verify_structure(report, network)


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
    """Yields the model, where it is one of Keras, and its slim variables."""
    if _is_keras_file(model):
        model = open_keras_file(model)
    if isinstance(model, keras.Model):
        yield model, slim_variables(model)
    else:
        with open_source(model) as variables:
            yield None, variables
