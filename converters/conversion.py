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
from converters.averages import AVERAGE, choose, is_average
from converters.backbones import cut, last_convolution
from converters.background import CLASSES, DROPPED, shapes_without_background, without_background
from converters.copies import copy_notes, open_copy
from converters.differences import differences
from converters.errors import ConversionError, ConversionWarning, DifferencesError
from converters.graph_facts import GraphFacts, first_difference, graph_facts, options_for
from converters.opening import is_folded
from converters.recognition import Network, image_channels, matches, observed_widths
from converters.source_names import NetworkView, network_view
from converters.sources import Source, Variables, find_source
from converters.weights import assign, is_logits, slim_variables, weights_by_slim_name
from mobilenets.families import FAMILIES

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
        scope: the scope of the network in the source.
        copy: "ema" or "pristine" if the source holds these two checkpoints of one network: the one that was taken.
        fetched_from: the URL or path that a published model came from, if it was fetched.
        background_dropped: whether class 0 of the source was left out.
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
    scope: str = ""
    copy: str | None = None
    fetched_from: str | None = None
    background_dropped: bool = False

    def facts(self) -> dict[str, object]:
        """The account in short: ``{what: value}`` to print."""
        arguments = dict(self.configuration)
        return {
            "source": f"{self.source} ({self.source_format})",
            **({"fetched_from": self.fetched_from} if self.fetched_from else {}),
            "network": f"{arguments['family']}, depth multiplier {arguments['depth_multiplier']:g}",
            "published_model": arguments["name"] or "none that the source's name contains",
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
    scope: str | None = None,
    strict: bool = False,
    background: bool = True,
    **overrides,
) -> keras.Model:
    """Makes a Keras model of the slim variables in ``source``.

    Family, depth multiplier, head and class count follow from names and shapes.

    Args:
        source: anything `checkpoints.open_variables` reads (a checkpoint prefix, one of its files, its folder, an
            archive, a frozen graph, an HDF5 or safetensors file, a folder of transformers), or
            ``{slim variable name: array}``.
        name: a published model or hub handle that the source is; it gives the image size and is checked against the
            source.
        head: "classification", "feature_vector" or "feature_map"; by default classification where the source holds
            logits, otherwise feature_vector (with a `ConversionWarning`).
        input_shape: ``(height, width)``, each possibly None, or with the channels, 3 or 1; by default the size
            that the source's graph or module takes, or the image size of ``name``, or of the published model in the
            file's name, or 224.
        ema: "auto", "always" or "never": see `converters.averages.choose`.
        scope: the scope that the network's variables are in, such as ``FeatureExtractor/MobilenetV2``; needed only
            where the source has several networks.
        strict: whether NaN or infinity in a weight is an error rather than a `ConversionWarning`.
        background: False leaves out class 0, "background", of 1001 classes (a source of 1000 stays as it is).
        **overrides: further arguments of the constructor, such as `mobilenets.MobileNetV1`. A
            ``depth_multiplier`` is checked against the source.

    Raises:
        ConversionError: the source does not fit: variables that are missing, left over or misshapen are listed.
        checkpoints.CheckpointError: the source cannot be read.
        ValueError: an argument is out of range.

    Example:
        >>> import converters
        >>> variables = converters.slim_variables(model)  # or the path of a checkpoint
        >>> converters.convert(variables, input_shape=(64, 64, 3)).output_shape
        (None, 1001)
    """
    conversion = conversion_of(
        source,
        name=name,
        head=head,
        input_shape=input_shape,
        ema=ema,
        scope=scope,
        strict=strict,
        background=background,
        **overrides,
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
    scope: str | None = None,
    strict: bool = False,
    background: bool = True,
    **overrides,
) -> Conversion:
    """As `convert`, with the account of the conversion instead of warnings."""
    located = find_source(source)
    origin, name = located.path, name or located.published
    with located.unpacked(), open_copy(origin, ema) as variables:
        label = str(variables.path)
        view = network_view(variables, label, scope)
        shapes, network = view.shapes, view.network
        info = _published(network, name, label)
        multiplier = overrides.pop("depth_multiplier", info.depth_multiplier if info else network.depth_multiplier)
        _check_multiplier(network, shapes, multiplier, label)
        graph = graph_facts(origin, network.family, view.scope)
        strides, stride_notes = _stride_options(network, graph, label, overrides)
        dropped = not background and _drops_background(network, head, overrides, label)
        if dropped:
            shapes = shapes_without_background(shapes)
        arguments = {
            "depth_multiplier": multiplier,
            "input_shape": _with_channels(input_shape, image_channels(shapes))
            or _input_shape(info, variables.image_size or graph.image_size, image_channels(shapes)),
            "head": _head(network, head, shapes, label),
            "num_classes": CLASSES if dropped else network.num_classes or mobilenets.PUBLISHED_CLASSES,
            **network.arguments,
            **strides,
            **({"padding": "explicit"} if graph.explicit_padding and FAMILIES[network.family].explicit_padding else {}),
            **overrides,
        }
        model, ends_at = cut(mobilenets.CONSTRUCTORS[network.family](**arguments), network, shapes)
        folded = is_folded(shapes)
        if folded:
            model = mobilenets.fuse(model)

        new_head = arguments["num_classes"] != network.num_classes and not dropped
        expected = {name: tuple(weight.shape) for name, weight in weights_by_slim_name(model).items()}
        fresh = {name for name in expected if is_logits(name) and new_head}
        unused = {name for name in shapes if is_logits(name) and (new_head or name not in expected)}
        differing = differences(_without(expected, fresh), _without(shapes, unused))
        if differing:
            raise DifferencesError(
                f"{label} does not fit {network.family} with depth multiplier {multiplier:g} and the head "
                f"{arguments['head']!r} ({len(expected)} variables)",
                differing,
            )
        entries = choose(expected.keys() - fresh, view.names, ema, label)
        taken = view.variables.renamed(entries)
        assign(model, without_background(taken) if dropped else taken, label, leave=fresh)

    notes = [
        *graph.notes,
        *stride_notes,
        *([FOLDED_NOTE.format(label)] if folded else []),
        *view.notes,
        *_end_notes(ends_at, label),
        *([DROPPED] if dropped else _head_notes(network, head, arguments, unused, label)),
        *_finiteness_notes(slim_variables(model), strict, label),
        *_checksum_notes(variables),
        *copy_notes(variables, ema),
    ]
    return Conversion(
        model=model,
        source=label,
        source_format=variables.format,
        source_files=variables.files,
        configuration={"family": network.family, "name": info.name if info else None, **arguments}
        | ({"ends_at": ends_at} if ends_at else {}),
        averaged=sum(map(is_average, entries.values())),
        set_aside=_set_aside(view, entries, unused),
        notes=tuple(notes),
        origin=origin,
        # The known checksums of published models are those of their variables, which a folded source does not have.
        published=info.name if info and name is not None and not folded else None,
        scope=view.scope,
        copy=variables.copy,
        fetched_from=located.fetched_from,
        background_dropped=dropped,
    )


def _head(network: Network, head: str | None, shapes: Mapping[str, tuple], source: str) -> str:
    """The head of the model: the one that the user asks for, or else what the variables allow."""
    last = last_convolution(network, shapes)
    if last is None:
        return head or ("classification" if network.num_classes else "feature_vector")
    if head not in (None, "feature_map"):
        raise ConversionError(f"{source} ends at {last}; such a network has the head 'feature_map' only, not {head!r}.")
    return "feature_map"


def _end_notes(ends_at: str | None, source: str) -> list[str]:
    return [f"{source} has no convolutions after {ends_at}; the model is the feature map there."] if ends_at else []


def _head_text(model: keras.Model, arguments: Mapping) -> str:
    sizes = "x".join("?" if size is None else str(size) for size in model.output_shape[1:])
    return f"{arguments['head']} ({sizes})"


def _without(shapes: Mapping[str, tuple], names: Set[str]) -> dict[str, tuple]:
    return {name: shape for name, shape in shapes.items() if name not in names}


def _published(network: Network, name: str | None, source: str) -> mobilenets.ModelInfo | None:
    """The published model that the source is: the one that the user names, or the one in its path, if it fits."""
    if name is not None:
        named = mobilenets.get_model_info(name)
        if named.family != network.family:
            raise ConversionError(f"{source} holds a {network.family} network, but {name!r} is a {named.family}.")
        if not _has_options(network, named):
            ours = ", ".join(f"{option}={value}" for option, value in network.options.items() if value is not None)
            raise ConversionError(f"{source} holds a {network.family} network with {ours}, which {name!r} has not.")
        return named
    for part in reversed(pathlib.PurePath(source).parts):
        info = mobilenets.model_in_file_name(part)
        if info and (info.family, info.depth_multiplier) == (network.family, network.depth_multiplier):
            return info if _has_options(network, info) else None
    return None


def _has_options(network: Network, info: mobilenets.ModelInfo) -> bool:
    """Whether a published model is of the network's variant."""
    known = FAMILIES[network.family].options
    return all(network.options[name] == info.options.get(name, known[name][0]) for name in _variant(known))


def _variant(known: Mapping[str, tuple]) -> list[str]:
    """The options of a family that no published model leaves to the default of the multiplier."""
    return [name for name, values in known.items() if values[0] is not None]


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
    network: Network, graph: GraphFacts, source: str, overrides: Mapping
) -> tuple[dict[str, int], list[str]]:
    """The arguments that give the strides of the source's graph, where it has one; the user's come first."""
    if overrides.keys() & {"first_stride", "output_stride"}:
        return {}, []
    options = options_for(network.family, graph.strides, network.options)
    if options is None:
        difference = first_difference(network.family, graph.strides, network.options)
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


def _check_multiplier(network: Network, shapes: Mapping[str, tuple], multiplier: float, source: str) -> None:
    """Refuses a multiplier of the user that the widths contradict (many multipliers give the same widths)."""
    observed = observed_widths(network.family, shapes, network.options)
    fit = matches(network.family, observed, network.depth_multiplier, network.options)
    if matches(network.family, observed, multiplier, network.options) < fit:
        widths = mobilenets.widths(network.family, multiplier, **network.options)
        scope = next(scope for scope, width in observed.items() if widths[scope] != width)
        raise ConversionError(
            f"{source} has the depth multiplier {network.depth_multiplier:g}, not {multiplier:g}: {scope} has "
            f"{observed[scope]} channels where {multiplier:g} gives {widths[scope]}."
        )


def _drops_background(network: Network, head: str | None, overrides: Mapping, source: str) -> bool:
    """Whether class 0 is to be left out: the source has 1001 classes, not 1000 already."""
    if "num_classes" in overrides or head not in (None, "classification"):
        raise ConversionError(
            "background=False (--classes 1000) keeps the classification layer; it excludes num_classes and other heads."
        )
    if network.num_classes not in (mobilenets.PUBLISHED_CLASSES, CLASSES):
        count = f"{network.num_classes} classes" if network.num_classes else "no classification layer"
        raise ConversionError(
            f"{source} has {count}; class 0 is left out only of ImageNet's {mobilenets.PUBLISHED_CLASSES} classes."
        )
    return network.num_classes == mobilenets.PUBLISHED_CLASSES


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


def _set_aside(view: NetworkView, entries: Mapping[str, str], unused: Set[str]) -> dict[str, int]:
    """``{kind: count}`` of the entries that the model does not use."""
    names = view.names
    counts = {kind: len(group) for kind, group in names.companions.items()} | dict(view.set_aside)
    taken = set(entries.values())
    if not any(map(is_average, taken)):
        counts[f"{AVERAGE} (not taken)"] = len(names.averaged)
    else:
        counts[f"{AVERAGE} (not taken)"] = len(names.averaged) - sum(map(is_average, taken))
        counts["plain values of averaged variables"] = sum(name not in taken for name in names.plain - unused)
    counts["logits"] = len(unused)
    return {kind: count for kind, count in counts.items() if count}
