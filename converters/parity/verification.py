"""Holds a model against what somebody else computed: a checkpoint, a manifest, a frozen graph, a hub module."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping

import keras
import numpy as np

import checkpoints
import mobilenets
from converters.assignment import slim_variables
from converters.errors import ConversionError
from converters.fetching import source_of
from converters.manifest import open_keras_file
from converters.parity.comparison import Report, compare_outputs
from converters.parity.frozen_graph import FrozenGraph
from converters.parity.hub import compare_with_module
from converters.parity.hub_module import is_hub_module, open_hub_module
from converters.parity.outputs import endpoint_function
from converters.parity.weights import verify_manifest, verify_variables
from mobilenets.options import check_momentum

# Relative to the largest absolute value of an endpoint. Stock Keras layers and slim differ by rounding alone: by up to
# 2e-6 in float32 and 5e-15 in float64 over random networks of all families.
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}
SEED = 0


def verify(
    model: keras.Model | str | pathlib.Path,
    reference: str | pathlib.Path | Mapping[str, np.ndarray],
    images: np.ndarray | None = None,
    tolerance: float | None = None,
    *,
    ema: str = "auto",
    dtype: str | None = None,
    batch_norm_momentum: float = 0.99,
    name: str | None = None,
) -> Report:
    """Compares a model with a reference: weights bit for bit, or outputs endpoint by endpoint.

    Args:
        model: a network of this project, or the path of its ``.keras`` file; to compare weights also any other source
            of slim variables (is a hub module's content that of a checkpoint, and which: averaged or plain?).
        reference: a manifest (``.json``) or a source of variables that `converters.convert` takes, to compare weights;
            a frozen graph (``.pb``) or a TF-Hub module (its folder or ``.tar.gz``), to compare outputs. With a module,
            training mode is compared too: outputs, moving statistics after one call, sum of regularization losses.
            Or a published model by its name or hub handle: its checkpoint is fetched, and where the checksums in its
            hub module are known, weights are held against those too.
        images: float ``(batch, height, width, 3)`` in [0, 1] for outputs; by default two images of seeded noise.
        tolerance: of outputs, relative to the endpoint's largest absolute value; by default 1e-5 in float32 and 1e-12
            in float64.
        ema: which values of a checkpoint the weights must equal: "always" the averaged ones, "never" the plain ones,
            "auto" whichever of the two the model carries, told in the report's notes.
        dtype: "float32" or "float64", to compute outputs of a frozen graph in; by default its own.
        batch_norm_momentum: of the one call in training mode, in [0, 1).
        name: what to call the model in the report.

    Returns:
        The report. `Report.passed` says whether all agrees.

    Raises:
        ConversionError: the two cannot be compared.
        checkpoints.CheckpointError: the reference cannot be read, or not be fetched.
        ValueError: an argument is out of range.
    """
    if dtype not in (None, *TOLERANCES):
        raise ValueError(f"dtype is {dtype!r}; it must be one of {', '.join(TOLERANCES)}.")
    check_momentum(batch_norm_momentum)
    name = name or (model.name if isinstance(model, keras.Model) else str(model))
    reference, published = _fetched(reference)
    with _unpacked(reference) as unpacked:
        if _gives_outputs(unpacked) and _is_network(model):
            model = model if isinstance(model, keras.Model) else open_keras_file(model)
            compare = _with_module if is_hub_module(unpacked) else _with_graph
            return compare(name, model, unpacked, str(reference), images, tolerance, dtype, batch_norm_momentum)
    if images is not None or tolerance is not None or dtype is not None:
        raise ConversionError(
            f"{reference} gives weights, which are compared bit for bit; images, tolerance and dtype are for outputs."
        )
    with _variables(model) as found:
        if not isinstance(reference, Mapping) and pathlib.Path(reference).suffix == ".json":
            return verify_manifest(name, found, reference)
        if isinstance(reference, Mapping):
            return verify_variables(name, found, reference, "The mapping", ema)
        with checkpoints.open_variables(reference) as variables:
            return verify_variables(name, found, variables, str(reference), ema, published)


def _fetched(reference: object) -> tuple[object, str | None]:
    """The reference as it is, or the archive of the published model that it names, and that model's name."""
    if isinstance(reference, Mapping):
        return reference, None
    source = source_of(reference)
    return source, None if source is reference else mobilenets.get_model_info(str(reference)).name


def _is_network(model: object) -> bool:
    return isinstance(model, keras.Model) or pathlib.Path(model).suffix == ".keras"


def _gives_outputs(reference: object) -> bool:
    return is_hub_module(reference) or (not isinstance(reference, Mapping) and pathlib.Path(reference).suffix == ".pb")


@contextlib.contextmanager
def _unpacked(reference: object) -> Iterator[object]:
    """The reference, or the hub module in it if it is an archive with one."""
    if isinstance(reference, Mapping) or not checkpoints.is_archive(pathlib.Path(reference)):
        yield reference
        return
    with checkpoints.unpacked(reference) as folder:
        yield next((file.parent for file in sorted(folder.rglob("saved_model.pb"))), reference)


@contextlib.contextmanager
def _variables(model: keras.Model | str | pathlib.Path) -> Iterator[Mapping[str, np.ndarray]]:
    if isinstance(model, keras.Model):
        yield slim_variables(model)
    elif pathlib.Path(model).suffix == ".keras":
        yield slim_variables(open_keras_file(model))
    else:
        with checkpoints.open_variables(model) as variables:
            yield variables


def _with_graph(name, model, path, reference, images, tolerance, dtype, _) -> Report:
    graph = FrozenGraph(path, float64=dtype == "float64")
    tolerance = TOLERANCES[graph.dtype] if tolerance is None else tolerance
    images, note = _images(model, graph.image_size, images)
    expected = graph.run(images)
    outputs = endpoint_function(model, graph.dtype)(images)
    rows = compare_outputs(outputs, expected, tolerance)
    if not rows:
        raise ConversionError(
            f"{name} and {reference} share no endpoint: {', '.join(outputs)} here, {', '.join(expected)} there."
        )
    apart = sorted({*outputs, *expected} - {row.name for row in rows})
    notes = [note, f"Computed in {graph.dtype}."]
    if apart:
        notes.append(f"Only one of the two has {', '.join(apart)}.")
    return Report("outputs", name, reference, rows, tolerance, tuple(notes))


def _with_module(name, model, path, reference, images, tolerance, dtype, momentum) -> Report:
    if dtype == "float64":
        raise ConversionError(f"{reference} is a hub module, which computes in float32 only.")
    module = open_hub_module(path)
    tolerance = TOLERANCES["float32"] if tolerance is None else tolerance
    images, note = _images(model, module.image_size, images)
    rows = compare_with_module(model, module, images.astype(np.float32), tolerance, momentum)
    trained = (
        f"In training mode with batch norm momentum {momentum:g}."
        if module.takes_momentum
        else "In training mode without moving statistics: the module takes no momentum (since version 3 they do)."
    )
    notes = (note, trained)
    return Report("outputs", name, reference, rows, tolerance, notes)


def _images(
    model: keras.Model, reference_size: tuple[int | None, int | None], images: np.ndarray | None
) -> tuple[np.ndarray, str]:
    """The images to compare on, of the size that both sides take, and what to say of them."""
    size = []
    for ours, theirs in zip(model.input_shape[1:3], reference_size, strict=True):
        if None not in (ours, theirs) and ours != theirs:
            raise ConversionError(
                f"The model takes images of {model.input_shape[1:3]}, the reference {reference_size}."
            )
        size.append(ours or theirs)
    if images is None:
        height, width = (length or 224 for length in size)
        noise = np.random.default_rng(SEED).uniform(size=(2, height, width, 3)).astype(np.float32)
        return noise, f"On 2 images of {height}x{width} seeded noise (seed {SEED})."
    images = np.asarray(images)
    expected = (len(images) if images.ndim else 0, *size, 3)
    if images.ndim != 4 or any(want not in (None, have) for want, have in zip(expected, images.shape, strict=True)):
        raise ConversionError(f"The images have the shape {images.shape}; expected (batch, {size[0]}, {size[1]}, 3).")
    return images, f"On {len(images)} given images."
