"""The whole way from a source of slim variables to a Keras model, step by step."""

import pathlib
import warnings
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import checkpoints
import mobilenets
from converters.averages import AVERAGE, CheckpointNames, choose, is_average, sort_names
from converters.errors import ConversionError, ConversionWarning
from converters.graph_facts import GraphFacts, first_difference, graph_facts, options_for
from converters.opening import is_folded, open_source
from converters.recognition import Network, image_channels, matches, observed_widths, recognise
from converters.sources import Source, Variables, find_source
from converters.weights import assign, describe, differences, is_logits, slim_variables, weights_by_slim_name

FOLDED_NOTE = (
    "The batch norms of {} are folded into its weights. The model is a folded one, for inference: convolutions with "
    "biases, as mobilenets.fuse makes them. Convert the checkpoint, if you have it, for a model to train."
)


@dataclass(frozen=True)
class Conversion:
    """A converted model and the account of how it came about.

    Attributes:
        model: the Keras model.
        source: what the variables came from, as the user gave it.
        source_format: "tensorflow checkpoint v2", "hdf5" and so on; "mapping" for arrays in memory.
        source_files: the files that make up the source.
        configuration: family, depth multiplier, head and so on, as JSON values.
        averaged: how many variables took their averaged value.
        set_aside: ``{kind: count}`` of what the source holds and the model does not use.
        notes: sentences that the user should read.
        origin: the source itself: a path, or the mapping of arrays.
        published: the published model that the user says it is, if any.
    """

    model: keras.Model
    source: str
    source_format: str
    source_files: tuple[pathlib.Path, ...]
    configuration: Mapping[str, Any]
    averaged: int
    set_aside: Mapping[str, int]
    notes: tuple[str, ...]
    origin: Variables
    published: str | None

    def facts(self) -> dict[str, object]:
        """The account in short: ``{what: value}`` to print."""
        arguments = dict(self.configuration)
        return {
            "source": f"{self.source} ({self.source_format})",
            "network": f"{arguments['family']}, depth multiplier {arguments['depth_multiplier']:g}",
            "published_model": arguments["name"] or "none that the source's name says",
            "head": _head_text(self.model, arguments),
            "input": f"{'x'.join('any' if size is None else str(size) for size in arguments['input_shape'])}",
            "variables": len(weights_by_slim_name(self.model)),
            "of_them_averaged": self.averaged,
            "set_aside": ", ".join(f"{count} {kind}" for kind, count in self.set_aside.items()) or "nothing",
        }


def convert(
    source: Variables | Source,
    *,
    name: str | None = None,
    head: str | None = None,
    input_shape: tuple | None = None,
    ema: str = "auto",
    strict: bool = False,
    **overrides,
) -> keras.Model:
    """Makes a Keras model of the slim variables in ``source``.

    Family, depth multiplier, head and class count are told from names and shapes.

    Args:
        source: anything `checkpoints.open_variables` reads (a checkpoint prefix, one of its files, its folder, an
            archive, a frozen graph, an HDF5 file), or ``{slim variable name: array}``.
        name: a published model or hub handle that the source is; it gives the image size and is checked against the
            source.
        head: "classification", "feature_vector" or "feature_map"; by default classification where the source holds
            logits, otherwise feature_vector (with a `ConversionWarning`).
        input_shape: ``(height, width)``, each possibly None, or with the channels, 3 or 1; by default the size
            that the source's graph or module takes, or the image size of ``name``, or of the published model in the
            file's name, or 224.
        ema: "auto", "always" or "never": see `converters.averages.choose`.
        strict: whether NaN or infinity in a weight is an error rather than a `ConversionWarning`.
        **overrides: further arguments of `mobilenets.MobileNetV1`, `MobileNetV2` or `InceptionV2`. A
            ``depth_multiplier`` is checked against the source.

    Raises:
        ConversionError: the source does not fit: every variable that is missing, left over or misshapen is listed.
        checkpoints.CheckpointError: the source cannot be read.
        ValueError: an argument is out of range.
    """
    conversion = conversion_of(
        source, name=name, head=head, input_shape=input_shape, ema=ema, strict=strict, **overrides
    )
    for note in conversion.notes:
        warnings.warn(note, ConversionWarning, stacklevel=2)
    return conversion.model


def conversion_of(
    source: Variables | Source,
    *,
    name: str | None = None,
    head: str | None = None,
    input_shape: tuple | None = None,
    ema: str = "auto",
    strict: bool = False,
    **overrides,
) -> Conversion:
    """As `convert`, with the account of the conversion instead of warnings."""
    found = find_source(source)
    origin, name = found.path, name or found.published
    with open_source(origin) as variables:
        label = str(variables.path)
        names = sort_names(variables)
        shapes = variables.renamed(names.owners()).shapes
        network = recognise(shapes, label)
        info = _published(network, name, label)
        multiplier = overrides.pop("depth_multiplier", info.depth_multiplier if info else network.depth_multiplier)
        _check_multiplier(network, shapes, multiplier, label)
        graph = graph_facts(origin)
        strides, stride_notes = _stride_options(network.family, graph, label, overrides)
        arguments = {
            "depth_multiplier": multiplier,
            "input_shape": _with_channels(input_shape, image_channels(shapes))
            or _input_shape(info, variables.image_size or graph.image_size, image_channels(shapes)),
            "head": head or ("classification" if network.num_classes else "feature_vector"),
            "num_classes": network.num_classes or mobilenets.PUBLISHED_CLASSES,
            **({"scale_last_layer": network.scale_last_layer} if network.family == "mobilenet_v2" else {}),
            **strides,
            **({"padding": "explicit"} if graph.explicit_padding and network.family != "inception_v2" else {}),
            **overrides,
        }
        model = mobilenets.CONSTRUCTORS[network.family](**arguments)
        folded = is_folded(shapes)
        if folded:
            model = mobilenets.fuse(model)

        new_head = arguments["num_classes"] != network.num_classes
        expected = {name: tuple(weight.shape) for name, weight in weights_by_slim_name(model).items()}
        fresh = {name for name in expected if is_logits(name) and new_head}
        unused = {name for name in shapes if is_logits(name) and (new_head or name not in expected)}
        lines = differences(_without(expected, fresh), _without(shapes, unused))
        if lines:
            raise ConversionError(
                f"{label} does not fit {network.family} with depth multiplier {multiplier:g} and the head "
                f"{arguments['head']!r} ({len(expected)} variables): {describe(lines)}"
            )
        sources = choose(expected.keys() - fresh, names, ema, label)
        assign(model, variables.renamed(sources), label, leave=fresh)

    notes = [
        *graph.notes,
        *stride_notes,
        *([FOLDED_NOTE.format(label)] if folded else []),
        *_head_notes(network, head, arguments, unused, label),
        *_finiteness_notes(slim_variables(model), strict, label),
        *_checksum_notes(variables),
    ]
    return Conversion(
        model=model,
        source=label,
        source_format=variables.format,
        source_files=variables.files,
        configuration={"family": network.family, "name": info.name if info else None, **arguments},
        averaged=sum(is_average(source) for source in sources.values()),
        set_aside=_set_aside(names, sources, unused),
        notes=tuple(notes),
        origin=origin,
        # The known checksums of published models are those of their variables, which a folded source does not have.
        published=info.name if info and name is not None and not folded else None,
    )


def _head_text(model: keras.Model, arguments: Mapping) -> str:
    sizes = "x".join("?" if size is None else str(size) for size in model.output_shape[1:])
    return f"{arguments['head']} ({sizes})"


def _without(shapes: Mapping[str, tuple], names: Set[str]) -> dict[str, tuple]:
    return {name: shape for name, shape in shapes.items() if name not in names}


def _published(network: Network, name: str | None, source: str) -> mobilenets.ModelInfo | None:
    """The published model that the source is: the one the user names, or the one its path says, if it fits."""
    if name is not None:
        said = mobilenets.get_model_info(name)
        if said.family != network.family:
            raise ConversionError(f"{source} holds a {network.family} network, but {name!r} is a {said.family}.")
        return said
    for part in reversed(pathlib.PurePath(source).parts):
        info = mobilenets.model_in_file_name(part)
        if info and (info.family, info.depth_multiplier) == (network.family, network.depth_multiplier):
            return info
    return None


def _input_shape(info: mobilenets.ModelInfo | None, declared: tuple | None, channels: int) -> tuple[int, int, int]:
    """The size that the source itself declares (a MobileNet V2 module), or else that of the published model."""
    if declared and None not in declared:
        return (*declared, channels)
    size = info.image_size if info else 224
    return size, size, channels


def _with_channels(input_shape: tuple | None, channels: int) -> tuple | None:
    """A size with the channels of the source; a whole shape stays as it is."""
    return (*input_shape, channels) if input_shape is not None and len(input_shape) == 2 else input_shape


def _stride_options(
    family: str, graph: GraphFacts, source: str, overrides: Mapping
) -> tuple[dict[str, int], list[str]]:
    """The arguments that give the strides of the source's graph, where it has one; the user's come first."""
    if overrides.keys() & {"first_stride", "output_stride"}:
        return {}, []
    options = options_for(family, graph.strides)
    if options is None:
        difference = first_difference(family, graph.strides)
        if not graph.runs:
            raise ConversionError(
                f"The graph of {source} has strides that cannot be built: {difference}. Name first_stride or "
                "output_stride to convert the weights into another network."
            )
        # Its outputs are compared before a file gets its name.
        return {}, [f"The graph of {source} has strides that cannot be built: {difference}."]
    if not options:
        return {}, []
    arguments = ", ".join(f"{name}={value}" for name, value in options.items())
    return options, [f"The graph of {source} has other strides than the published network; built with {arguments}."]


def _check_multiplier(network: Network, shapes: Mapping[str, tuple], said: float, source: str) -> None:
    """Refuses a multiplier that the user said and the widths contradict (many multipliers give the same widths)."""
    observed = observed_widths(network.family, shapes)
    scale_last_layer = network.scale_last_layer
    fit = matches(network.family, observed, network.depth_multiplier, scale_last_layer)
    if matches(network.family, observed, said, scale_last_layer) < fit:
        widths = mobilenets.widths(network.family, said, scale_last_layer)
        scope = next(scope for scope, width in observed.items() if widths[scope] != width)
        raise ConversionError(
            f"{source} has the depth multiplier {network.depth_multiplier:g}, not {said:g}: {scope} has "
            f"{observed[scope]} channels where {said:g} gives {widths[scope]}."
        )


def _head_notes(network: Network, head: str | None, arguments: Mapping, unused: Set[str], source: str) -> list[str]:
    left_out = f" Not taken from the source: {', '.join(sorted(unused))}." if unused else ""
    if head is None and network.num_classes is None and arguments["head"] == "feature_vector":
        return [f"{source} holds no logits weights; the model is a feature vector model.{left_out}"]
    if arguments["head"] == "classification" and arguments["num_classes"] != network.num_classes:
        return [f"The classification layer is new, for {arguments['num_classes']} classes, and untrained.{left_out}"]
    return []


def _finiteness_notes(variables: Mapping[str, np.ndarray], strict: bool, source: str) -> list[str]:
    """A warning that names every variable with a NaN or an infinity in it; an error if ``strict``."""
    names = [name for name, array in variables.items() if not np.isfinite(array).all()]
    if not names:
        return []
    note = f"{source} holds NaN or infinity in {len(names)} variable(s): {', '.join(names)}."
    if strict:
        raise ConversionError(note)
    return [note]


def _checksum_notes(variables: checkpoints.VariableFile) -> list[str]:
    """A file whose format has no checksums is as good as its sha256, which only its origin can confirm."""
    if variables.checked:
        return []
    sums = ", ".join(checkpoints.sha256(path) for path in variables.files)
    return [
        f"{variables.path} ({variables.format}) has no checksums, which would detect a damaged value; its sha256 is "
        f"{sums}: compare it with that of the origin."
    ]


def _set_aside(names: CheckpointNames, sources: Mapping[str, str], unused: Set[str]) -> dict[str, int]:
    """``{kind: count}`` of the entries that the model does not use."""
    counts = {kind: len(group) for kind, group in names.companions.items()}
    taken = set(sources.values())
    if not any(map(is_average, taken)):
        counts[f"{AVERAGE} (not taken)"] = len(names.averaged)
    else:
        counts[f"{AVERAGE} (not taken)"] = len(names.averaged) - sum(map(is_average, taken))
        counts["plain values of averaged variables"] = sum(name not in taken for name in names.plain - unused)
    counts["logits"] = len(unused)
    return {kind: count for kind, count in counts.items() if count}
