"""What a ``.keras`` file would take in memory and time, known before Keras builds the model in it."""

import io
import math
import pathlib
import re
import zipfile
import zlib
from typing import NamedTuple

import h5py

import checkpoints
from checkpoints.inputs import EXTRA_BYTES, allowance
from converters.errors import ConversionError

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MAX_CONFIG = 2**21  # bytes; MobileNet V3 and Inception V2 have 0.3 MB
MAX_LAYERS = 600  # each takes Keras up to 8 ms; MobileNet V3 has 274
MAX_CALLS = 3_000  # each takes up to 0.5 ms; MobileNet V3 in a model that is in another one has 822
MAX_OBJECTS = 20_000  # groups and datasets of the weights; MobileNet V3 has 700
# Layers that Keras computes step by step along an axis of their input, however long it is.
_RECURRENT = re.compile(r"RNN|LSTM|GRU|Bidirectional|TimeDistributed")
# Arguments that say how often a layer repeats its work.
_REPEATS = ("num_ops", "num_chains", "chain_depth", "power_iterations", "bins")
# What is an object in a configuration, but no layer.
_PARTS = ("keras.initializers", "keras.regularizers", "keras.constraints")


def check_archive(path: pathlib.Path) -> int:
    """Refuses a file that would take more memory or time than its size explains.

    A file that is no archive passes: Keras says so.

    Returns:
        The most bytes that the model's variables may take: those of the arrays in the file, and 64 MiB.

    Raises:
        ConversionError: the file is refused.
    """
    limit = allowance(path.stat().st_size)
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            if sum(sizes.values()) > limit:
                raise ConversionError(f"{path} is refused, because it unpacks to more than {limit} bytes.")
            if sizes.get(CONFIG, 0) > MAX_CONFIG:
                raise ConversionError(f"{path} is refused: {CONFIG} in it has more than {MAX_CONFIG} bytes.")
            if CONFIG not in sizes:
                return EXTRA_BYTES
            _check_layers(archive.read(CONFIG), path)
            if WEIGHTS not in sizes:
                raise ConversionError(f"{path} cannot be opened as a Keras model: it has no {WEIGHTS}.")
            return _stored_bytes(archive.read(WEIGHTS), path) + EXTRA_BYTES
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, KeyError, zlib.error):
        return EXTRA_BYTES


def _check_layers(content: bytes, path: pathlib.Path) -> None:
    try:
        work = _work(checkpoints.parse_json(content, path), path)
    except checkpoints.CheckpointError as error:
        raise ConversionError(f"{path} cannot be opened as a Keras model: {checkpoints.reason(error)}.") from error
    except RecursionError:
        raise ConversionError(f"{path} cannot be opened as a Keras model: its layers are nested too deeply.") from None
    if work.layers > MAX_LAYERS:
        raise ConversionError(f"{path} is refused, because it has {work.layers} layers, more than {MAX_LAYERS}.")
    if work.made > MAX_CALLS:
        calls = str(work.made) if work.made < 10**9 else "billions of"
        raise ConversionError(f"{path} is refused, because building it calls {calls} layers, more than {MAX_CALLS}.")


class _Work(NamedTuple):
    """What Keras does for a part of a configuration.

    Attributes:
        layers: layers in it; one with several inputs counts for each.
        called: layers that are called when the part is called.
        made: layers that are called when the part is made.
    """

    layers: int
    called: int
    made: int


def _work(part: object, path: pathlib.Path) -> _Work:
    """Counts the layers of a part of a configuration.

    A model calls its layers when it is made, and again in each call of the model by another one. So a few models in
    each other may call billions of layers.
    """
    values = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    inner = [_work(value, path) for value in values if isinstance(value, (dict, list))]
    layers, called, made = (sum(counts) for counts in zip((0, 0, 0), *inner, strict=True))
    if not isinstance(part, dict) or not _is_layer(part):
        return _Work(layers, called, made)
    if _RECURRENT.search(part["class_name"]):
        raise ConversionError(
            f"{path} is refused, because it has a layer {checkpoints.shown(part['class_name'])}, which no network for "
            "images needs."
        )
    repeats = (part["config"].get(name) for name in _REPEATS)
    times = math.prod(max(1, number) for number in repeats if isinstance(number, int))
    nodes = part.get("inbound_nodes")
    times *= max(1, len(nodes) if isinstance(nodes, list) else 1)
    return _Work(layers + times, (1 + called) * times, made + called)


def _is_layer(part: dict) -> bool:
    kind = part.get("class_name")
    return (
        isinstance(kind, str)
        and isinstance(part.get("config"), dict)
        and part.get("module") not in _PARTS
        and not kind.startswith("__")
        and "DTypePolicy" not in kind
    )


def _stored_bytes(weights: bytes, path: pathlib.Path) -> int:
    """Returns the bytes of all arrays in a file of weights, each of which must be stored as a whole, as Keras does.

    Raises:
        ConversionError: an array is larger than what the file has of it, or there are too many.
    """
    total = count = 0

    def visit(name: bytes, info: h5py.h5o.ObjInfo) -> None:
        nonlocal total, count
        count += 1
        if count > MAX_OBJECTS:
            raise ConversionError(f"{path} is refused: {WEIGHTS} in it has more than {MAX_OBJECTS} groups and arrays.")
        if info.type == h5py.h5o.TYPE_DATASET:
            data, shown = h5py.h5d.open(file.id, name), checkpoints.shown(name.decode(errors="replace"))
            plan = data.get_create_plist()
            if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
                raise ConversionError(f"{path} is refused, because {shown} of its {WEIGHTS} is in another file.")
            claimed = data.get_space().get_simple_extent_npoints() * data.get_type().get_size()
            stored = data.get_storage_size()
            if claimed > stored:
                raise ConversionError(
                    f"{path} is refused, because {shown} of its {WEIGHTS} claims {claimed} bytes but stores {stored}."
                )
            total += claimed

    try:
        with h5py.File(io.BytesIO(weights)) as file:
            h5py.h5o.visit(file.id, visit, info=True)
    except ConversionError:
        raise
    except Exception as error:  # h5py raises nearly any type for a damaged file
        raise ConversionError(
            f"{path} cannot be opened as a Keras model: its {WEIGHTS} is damaged ({checkpoints.reason(error)})."
        ) from error
    return total
