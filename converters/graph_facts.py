"""What a source's graph says that weights do not: strides, and the size and range of the images."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import checkpoints
import mobilenets
from checkpoints.inputs import read_bounded
from checkpoints.reading import source_in
from converters.errors import ConversionError
from converters.network_files import folder_of, network_next_to, sole_network
from converters.opening import graph_file, litert_file
from converters.sources import Variables
from converters.structure import stride_choices
from converters.tensorflow_extra import has_tensorflow
from mobilenets import SCOPES
from mobilenets.atrous import atrous
from mobilenets.families import convolutions

Strides = Mapping[str, tuple]
MAX_META = 2**28  # bytes of a `.meta` file; that of a network in training has some million


class GraphFacts(NamedTuple):
    """What a graph says.

    Attributes:
        strides: ``{slim scope of a convolution: (stride, dilation)}``.
        image_size: height and width that the graph takes, None for any; None altogether where it is not known.
        notes: sentences on it for the user.
        runs: whether the graph can be run, so that outputs can be compared; a ``.meta`` file is a training graph.
        explicit_padding: whether zeros are padded before convolutions (slim: ``use_explicit_padding``).
        file: the name of the file next to the source that says it; None for the source itself.
        trains: whether batch norms compute with the statistics of the batch (is_training=True).
    """

    strides: Strides
    image_size: tuple[int | None, int | None] | None
    notes: tuple[str, ...]
    runs: bool
    explicit_padding: bool = False
    file: str | None = None
    trains: bool = False


NOTHING = GraphFacts({}, None, (), False)


def graph_facts(source: Variables, family: str, scope: str | None = None) -> GraphFacts:
    """Reads the graph that a source is or has next to its checkpoint, its ``.meta`` file, or a folder's configuration.

    Args:
        source: a path, or a mapping of arrays, which has no graph.
        family: of the network; a graph of another one next to a checkpoint says nothing.
        scope: of the network, where a graph has several.

    Raises:
        ConversionError: the file is no graph, or takes images with other than 3 channels.
        OSError: it cannot be read.
    """
    if isinstance(source, Mapping):
        return NOTHING
    path = pathlib.Path(source)
    if (file := graph_file(path) or litert_file(path)) is not None:
        return _facts_of_network(file, scope)
    with transformers_folder_of(path) as folder:
        if folder is not None:
            return _facts_of_transformers(folder, path)
    is_part = path.suffix in (".index", ".meta") or path.suffix.startswith(".data-")
    meta = path.with_name(f"{path.stem if is_part else path.name}.meta")
    facts = _facts_next_to(path, family)
    if not meta.is_file():
        return facts
    try:
        strides, explicit = _facts_of_meta_graph(meta)
    except ConversionError as error:
        # The weights are not in it.
        return facts._replace(notes=(*facts.notes, f"{error} Strides and padding are not compared with it."))
    return GraphFacts(strides, facts.image_size, facts.notes, False, explicit, meta.name)


def _facts_next_to(path: pathlib.Path, family: str) -> GraphFacts:
    """Returns what the graph or LiteRT model in an archive or folder says; of the checkpoint next to it, or alone."""
    with folder_of(path) as folder:
        if folder is not None and (file := sole_network(folder)) is not None:
            return _facts_of_network(file)
    with network_next_to(path) as file:
        try:
            if file is None:
                return NOTHING
            facts = _facts_of_network(file)
        except (ConversionError, checkpoints.CheckpointError):
            return NOTHING  # another network, or one for detection
        if not any(conv.startswith(f"{SCOPES[family]}/") for conv in facts.strides):
            return NOTHING
        size = "x".join("any" if length is None else str(length) for length in facts.image_size or ())
        note = f"Strides and the image size {size} are those of {file.name} next to the checkpoint."
        return facts._replace(notes=(note,), file=file.name)


def _facts_of_network(file: pathlib.Path, scope: str | None = None) -> GraphFacts:
    return _facts_of_litert(file) if file.suffix == ".tflite" else _facts_of_frozen_graph(file, scope)


def _facts_of_frozen_graph(path: pathlib.Path, scope: str | None) -> GraphFacts:
    if not has_tensorflow():
        return _facts_read_without_running(path)
    from converters.graphs.frozen_graph import FrozenGraph

    graph = FrozenGraph(path, scope=scope)
    if graph.channels not in (1, 3):
        raise ConversionError(
            f"{path} takes images with {graph.channels} channels; only 3 (RGB) and 1 (grayscale) are supported."
        )
    low, high = graph.input_range
    height, width = ("any" if size is None else size for size in graph.image_size)
    note = f"The graph takes images of {height}x{width} pixels in [{low:g}, {high:g}]; the model takes them in [0, 1]."
    explicit = "EXPLICIT" in graph.paddings.values()
    return GraphFacts(graph.strides, graph.image_size, (note,), True, explicit, trains=graph.trains)


@contextlib.contextmanager
def transformers_folder_of(path: pathlib.Path) -> Iterator[pathlib.Path | None]:
    """Yields the folder of transformers that a source is, or that is unpacked from it; None for other sources."""
    if checkpoints.is_archive(path):
        with checkpoints.unpacked(path) as folder:
            inner = sole_network(folder) or source_in(folder, path)
            yield inner if checkpoints.is_transformers_folder(inner) else None
    else:
        yield path if checkpoints.is_transformers_folder(path) else None


def _facts_read_without_running(path: pathlib.Path) -> GraphFacts:
    from converters.graphs.layers import declared_image_size, paddings_of, strides_of
    from converters.graphs.nodes import read_nodes

    nodes = read_nodes(path)
    note = (
        f"TensorFlow is not installed, so {path} was read but not run: its outputs and the range of its images are not "
        "compared (pip install 'mobilenets[tensorflow]')."
    )
    explicit = "EXPLICIT" in paddings_of(nodes).values()
    return GraphFacts(strides_of(nodes), declared_image_size(nodes), (note,), False, explicit)


def _facts_of_transformers(folder: pathlib.Path, path: pathlib.Path) -> GraphFacts:
    from checkpoints.transformers_folder import read_config

    config = read_config(folder)
    strides = _network_strides(config.family, output_stride=config.output_stride) if config.output_stride else {}
    values = {"mobilenet_v1": "plain", "mobilenet_v2": "averaged"}[config.family]
    note = (
        f"{path} does not say whether its values are plain or moving averages; Google's folders of {config.family} for "
        f"transformers have {values} values."
    )
    return GraphFacts(strides, config.image_size, (note,), False)


def _facts_of_litert(path: pathlib.Path) -> GraphFacts:
    from converters.litert.network import LiteRTNetwork

    network = LiteRTNetwork(path)
    low, high = network.input_range
    height, width = network.image_size
    notes = [
        f"The file takes images of {height}x{width} pixels in [{low:g}, {high:g}]; the model takes them in [0, 1]."
    ]
    if network.quantized:
        notes.append(
            f"{path} computes with 8-bit integers. The model has the values that these stand for, as float32, and "
            "computes in float: its outputs agree with those of the file, but are not the same."
        )
    if network.dense_head:
        notes.append(f"The dense layer of {path} became the same 1x1 convolution, Logits/Conv2d_1c_1x1.")
    return GraphFacts(network.strides, network.image_size, tuple(notes), True, network.explicit_padding)


def _facts_of_meta_graph(path: pathlib.Path) -> tuple[Strides, bool]:
    """Strides, and whether padding is explicit."""
    from checkpoints.wire import WireError
    from converters.graphs.layers import paddings_of, strides_of
    from converters.graphs.plain_nodes import plain_nodes_of_meta_graph
    from converters.graphs.renamed_scopes import nodes_with_slim_scopes

    try:
        nodes = nodes_with_slim_scopes(plain_nodes_of_meta_graph(read_bounded(path, MAX_META)))
        return strides_of(nodes), "EXPLICIT" in paddings_of(nodes).values()
    except checkpoints.CheckpointError as error:
        raise ConversionError(str(error)) from error
    except WireError as error:
        raise ConversionError(
            f"{path}, next to the checkpoint, cannot be used: it is no MetaGraphDef ({error})."
        ) from error


def options_for(family: str, strides: Strides, network: Mapping | None = None) -> dict[str, int] | None:
    """Finds the constructor's arguments that give these strides and dilations.

    Args:
        family: one of `mobilenets.SCOPES`.
        strides: those of the graph.
        network: the family's options on which strides depend: the variant of a MobileNet V3.

    Returns:
        The arguments, none for the published network, or None where no arguments give them: the comparison of outputs
        then names the first endpoint that differs.
    """
    for options in stride_choices(family):
        expected = _network_strides(family, network, **options)
        if all(strides[scope] == expected[scope] for scope in strides.keys() & expected.keys()):
            return options
    return None


def first_difference(family: str, strides: Strides, network: Mapping | None = None) -> str:
    """Describes the first convolution whose stride or dilation is not that of the published network."""
    for scope, (stride, dilation) in _network_strides(family, network).items():
        if strides.get(scope, (stride, dilation)) != (stride, dilation):
            theirs = strides[scope]
            return f"{scope} has stride {theirs[0]} and dilation {theirs[1]}, the network {stride} and {dilation}"
    return "none differs"


def _network_strides(
    family: str, network: Mapping | None = None, first_stride: int = 2, output_stride: int | None = None
) -> dict[str, tuple[int, int]]:
    """Returns ``{scope: (stride, dilation)}`` of a family's convolutions with kernels larger than 1x1."""
    convs = convolutions(family, 1.0, mobilenets.PUBLISHED_CLASSES, **(network or {}))
    spatial = [conv for conv in convs if conv.kernel_size > 1]
    nominal = [first_stride, *(conv.stride for conv in spatial[1:])]
    return {conv.scope: step for conv, step in zip(spatial, atrous(nominal, output_stride), strict=True)}
