"""The whole way from a source of slim variables to a Keras model, step by step."""

import warnings
from collections.abc import Mapping, Set

import keras

import mobilenets
from converters.account import (
    FOLDED_NOTE,
    Conversion,
    checksum_notes,
    end_notes,
    finiteness_notes,
    head_notes,
    origin_notes,
    set_aside,
)
from converters.arguments import (
    check_multiplier,
    drops_background,
    head_of,
    image_shape,
    published_model,
    stride_options,
    with_channels,
)
from converters.averages import choose, is_average
from converters.backbones import cut
from converters.background import CLASSES, DROPPED, shapes_without_background, without_background
from converters.copies import copy_notes, open_copy
from converters.differences import differences
from converters.errors import ConversionWarning, DifferencesError
from converters.graph_facts import graph_facts
from converters.opening import is_folded
from converters.recognition import image_channels
from converters.source_names import network_view
from converters.sources import Source, Variables, find_source
from converters.weights import assign, is_logits, rounding_note, slim_variables, weights_by_slim_name
from mobilenets.families import FAMILIES
from mobilenets.random_values import without_random_values


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
        info = published_model(network, name, label)
        multiplier = overrides.pop("depth_multiplier", info.depth_multiplier if info else network.depth_multiplier)
        check_multiplier(network, shapes, multiplier, label)
        graph = graph_facts(origin, network.family, view.scope)
        strides, stride_notes = stride_options(network, graph, label, overrides)
        dropped = not background and drops_background(network, head, overrides, label)
        if dropped:
            shapes = shapes_without_background(shapes)
        arguments = {
            "depth_multiplier": multiplier,
            "input_shape": with_channels(input_shape, image_channels(shapes))
            or image_shape(info, variables.image_size or graph.image_size, image_channels(shapes)),
            "head": head_of(network, head, shapes, label),
            "num_classes": CLASSES if dropped else network.num_classes or mobilenets.PUBLISHED_CLASSES,
            **network.arguments,
            **strides,
            **({"padding": "explicit"} if graph.explicit_padding and FAMILIES[network.family].explicit_padding else {}),
            **overrides,
        }
        new_head = arguments["num_classes"] != network.num_classes and not dropped
        with without_random_values():
            model, ends_at = cut(mobilenets.CONSTRUCTORS[network.family](**arguments), network, shapes)
        folded = is_folded(shapes)
        if folded:
            model = mobilenets.fuse(model)

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
        _draw(model, fresh)

    rounding = rounding_note(model, taken.dtypes, label)
    notes = [
        *origin_notes(located, variables.format),
        *graph.notes,
        *([rounding] if rounding else []),
        *stride_notes,
        *([FOLDED_NOTE.format(label)] if folded else []),
        *view.notes,
        *end_notes(ends_at, label),
        *([DROPPED] if dropped else head_notes(network, head, arguments, unused, label)),
        *finiteness_notes(slim_variables(model), strict, label),
        *checksum_notes(variables),
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
        set_aside=set_aside(view, entries, unused),
        notes=tuple(notes),
        origin=origin,
        # The known checksums of published models are those of their variables, which a folded source does not have.
        published=info.name if info and name is not None and not folded else None,
        scope=view.scope,
        copy=variables.copy,
        fetched_from=located.fetched_from,
        background_dropped=dropped,
        new_head=bool(fresh),
        graph=graph,
    )


def _draw(model: keras.Model, names: Set[str]) -> None:
    """Gives weights of a new head their random initial values."""
    weights = weights_by_slim_name(model)
    for layer in model.layers:
        for leaf in ("weights", "biases"):
            name = f"{mobilenets.slim_name(layer.name)}/{leaf}"
            if name in names:
                initializer = layer.kernel_initializer if leaf == "weights" else layer.bias_initializer
                weights[name].assign(initializer(weights[name].shape, dtype=weights[name].dtype))


def _without(shapes: Mapping[str, tuple], names: Set[str]) -> dict[str, tuple]:
    return {name: shape for name, shape in shapes.items() if name not in names}
