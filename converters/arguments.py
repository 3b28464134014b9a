"""The arguments of a network's constructor that follow from a source and from what the user asks for."""

import pathlib
from collections.abc import Mapping

import mobilenets
from converters.backbones import last_convolution
from converters.background import CLASSES
from converters.errors import ConversionError
from converters.graph_facts import GraphFacts, first_difference, options_for
from converters.recognition import Network, matches, observed_widths
from mobilenets.families import FAMILIES


def published_model(network: Network, name: str | None, source: str) -> mobilenets.ModelInfo | None:
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
    """Returns whether a published model is of the network's variant."""
    known = FAMILIES[network.family].options
    return all(network.options[name] == info.options.get(name, known[name][0]) for name in _variant(known))


def _variant(known: Mapping[str, tuple]) -> list[str]:
    """Returns the options of a family that no published model leaves to the default of the multiplier."""
    return [name for name, values in known.items() if values[0] is not None]


def check_multiplier(network: Network, shapes: Mapping[str, tuple], multiplier: float, source: str) -> None:
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


def head_of(network: Network, head: str | None, shapes: Mapping[str, tuple], source: str) -> str:
    """Returns the head of the model: the one that the user asks for, or else what the variables allow."""
    last = last_convolution(network, shapes)
    if last is None:
        return head or ("classification" if network.num_classes else "feature_vector")
    if head not in (None, "feature_map"):
        raise ConversionError(f"{source} ends at {last}; such a network has the head 'feature_map' only, not {head!r}.")
    return "feature_map"


def image_shape(info: mobilenets.ModelInfo | None, declared: tuple | None, channels: int) -> tuple[int, int, int]:
    """Returns the size that the source itself declares (a MobileNet V2 module), or else that of the published model."""
    if declared and None not in declared:
        return (*declared, channels)
    size = info.image_size if info else 224
    return size, size, channels


def with_channels(input_shape: tuple | None, channels: int) -> tuple | None:
    """Returns a size with the channels of the source; a whole shape stays as it is."""
    return (*input_shape, channels) if input_shape is not None and len(input_shape) == 2 else input_shape


def stride_options(
    network: Network, graph: GraphFacts, source: str, overrides: Mapping
) -> tuple[dict[str, int], list[str]]:
    """Returns the arguments that give the strides of the source's graph, where it has one; the user's come first."""
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


def drops_background(network: Network, head: str | None, overrides: Mapping, source: str) -> bool:
    """Returns whether class 0 is to be left out: the source has 1001 classes, not 1000 already."""
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
