"""The comparison that a converted file passes before it gets its name."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

import checkpoints
from converters.conversion import Conversion
from converters.copies import PRISTINE, open_copy
from converters.errors import ConversionError, VerificationError
from converters.graph_facts import options_for, transformers_folder_of
from converters.keras_file import open_keras_file
from converters.network_files import folder_of, graph_in, is_hub_module, network_next_to, sole_network
from converters.opening import graph_file, litert_file, open_source
from converters.output_verification import verify_outputs
from converters.parity import transformers_run
from converters.parity.report import Report
from converters.parity.rows import REGULARIZATION, WeightRow
from converters.parity.weights import compared_structure, verify_saved
from converters.sources import Variables
from converters.structure import structure
from converters.tensorflow_extra import has_tensorflow
from converters.weights import slim_variables
from mobilenets.families import FAMILIES

NO_GRAPH = "not compared, the source has no graph (strides and padding are those of the published network)"
NOT_INSTALLED = "not compared, transformers is not installed, which would run the source (mobilenets[transformers])"
NO_TENSORFLOW = "not compared, TensorFlow is not installed, which would run the source (mobilenets[tensorflow])"
TRAINS = (
    "not compared, the source's graph runs in training mode (is_training=True), with the statistics of the batch "
    "(strides and padding are those of the graph)"
)
OTHER_WEIGHTS = "not compared, {} next to the checkpoint has other weights"
META_GRAPH = "not compared, the source has no graph that can be run (strides are those of its .meta file)"


def verify_file(conversion: Conversion, file: str | pathlib.Path, name: str, partial: bool) -> dict[str, dict]:
    """Compares a saved model, loaded again, with the source of its conversion.

    Args:
        conversion: what was saved.
        file: where it was saved.
        name: what to call it.
        partial: whether a graph with fewer than half of the model's endpoints is enough.

    Returns:
        Of ``weights`` and ``outputs`` each: ``result`` (a sentence), ``compared`` (how many) and ``notes``.

    Raises:
        VerificationError: a comparison failed.
    """
    model = open_keras_file(file)
    reports = [_weights(conversion, model, name)]
    outcome = {
        "weights": _weights_result(reports[0]),
        "outputs": {"result": NO_GRAPH, "compared": 0, "notes": []},
    }
    if reports[0].passed:
        # The graph in such an archive has the averaged values.
        with runnable_graph({} if conversion.copy == PRISTINE else conversion.origin) as graph:
            if graph is not None and not has_tensorflow():
                outcome["outputs"]["result"] = NO_TENSORFLOW
            elif graph is not None:
                try:
                    scope = conversion.scope
                    report = verify_outputs(name, model, graph, conversion.source, partial=partial, scope=scope)
                    if conversion.new_head:
                        report = _without_logits(report)
                    if not report.passed and conversion.graph.trains:
                        outcome["outputs"]["result"] = TRAINS
                    elif not report.passed and _is_of_another(graph, model, conversion):
                        outcome["outputs"]["result"] = OTHER_WEIGHTS.format(graph.name)
                    else:
                        reports.append(report)
                        outcome["outputs"] = _outputs_result(report)
                except ConversionError as error:
                    if _is_source(graph, conversion.origin):
                        raise
                    # A graph next to a checkpoint may be of another size, or have operations for detection around it.
                    outcome["outputs"]["result"] = f"not compared with the graph next to the checkpoint: {error}"
            elif conversion.source_format == "transformers":
                outcome["outputs"]["result"] = NOT_INSTALLED
            elif _has_strides_of_meta_file(conversion):
                outcome["outputs"]["result"] = META_GRAPH
    failed = [report for report in reports if not report.passed]
    if failed:
        what = "variables and layers" if failed[0].comparison == "weights" else "endpoints"
        wrong = sum(not row.passed for row in failed[0].rows)
        raise VerificationError(
            f"{name} was not written: {wrong} of {len(failed[0].rows)} {what} differ from {conversion.source}"
            f"{_first_failure(failed[0])} (--no-verify, or verify=False, writes it without this comparison).",
            tuple(reports),
        )
    return outcome


def _is_source(graph: pathlib.Path, origin: Variables) -> bool:
    """Whether the weights came from the graph, module or folder of transformers itself, or from an archive of it."""
    if isinstance(origin, Mapping):
        return False
    path = pathlib.Path(origin)
    if is_hub_module(graph) or checkpoints.is_transformers_folder(graph) or graph == path:
        return True
    with folder_of(path) as folder:
        return folder is not None and sole_network(folder) is not None


def _without_logits(report: Report) -> Report:
    """Leaves out what a new classification layer computes."""
    new = ("/Logits", "/Predictions", "default", REGULARIZATION)
    rows = tuple(row for row in report.output_rows if not row.name.endswith(new))
    note = "The classification layer is new: logits, predictions and the sum of weight decay were not compared."
    return dataclasses.replace(report, rows=rows, notes=(*report.notes, note))


def _is_of_another(graph: pathlib.Path, model, conversion: Conversion) -> bool:
    """Whether a graph that only lies in the folder of the checkpoint has other weights, those of another step perhaps.

    A folder or an archive as the source includes its graph, so there it is an error.
    """
    path = pathlib.Path(str(conversion.origin))
    if path.is_dir() or checkpoints.is_archive(path) or _is_source(graph, conversion.origin):
        return False
    dropped = conversion.background_dropped
    try:
        with open_source(graph) as variables:
            report = verify_saved("", slim_variables(model), variables, str(graph), False, None, None, dropped)
    except (checkpoints.CheckpointError, ConversionError):
        return False  # a folded graph, for example: then the outputs decide
    return not report.passed


def _has_strides_of_meta_file(conversion: Conversion) -> bool:
    configuration = conversion.configuration
    strides = conversion.graph.strides
    if not (conversion.graph.file or "").endswith(".meta"):
        return False
    options = {name: configuration[name] for name in FAMILIES[configuration["family"]].options}
    built = {name: configuration[name] for name in ("first_stride", "output_stride") if name in configuration}
    return bool(strides) and options_for(configuration["family"], strides, options) == built


def _weights(conversion: Conversion, model, name: str) -> Report:
    with open_copy(conversion.origin, "never" if conversion.copy == PRISTINE else "auto") as variables:
        averaged = conversion.averaged > 0
        report = verify_saved(
            name,
            slim_variables(model),
            variables,
            conversion.source,
            averaged,
            conversion.published,
            conversion.scope,
            conversion.background_dropped,
        )
    return compared_structure(report, model, structure(conversion.model), "the network that was built")


def _weights_result(report: Report) -> dict:
    result = f"{len(report.rows)} variables of the saved file equal the source's bit for bit"
    rounded = [row.finding for row in report.weight_rows if "rounded" in row.finding]
    if rounded:
        result += f", {len(rounded)} of them {rounded[0].removeprefix('equal, ')}"
    return {"result": result, "compared": len(report.rows), "notes": list(report.notes)}


def _outputs_result(report: Report) -> dict:
    if report.agreement:
        least = report.least_similar
        result = (
            f"agreement, not parity: {report.compared} of the model's {report.endpoints} endpoints agree with the "
            f"8-bit source; the least cosine similarity, of {least.name}, is {least.cosine:.4f}"
        )
        return {"result": result, "compared": report.compared, "notes": list(report.notes)}
    worst = max(report.output_rows, key=lambda row: row.reference_error / row.bound)
    result = (
        f"{report.compared} of the model's {report.endpoints} endpoints agree with the source's graph; the worst, "
        f"{worst.name}, is {worst.reference_error:.1e} from the exact model ({worst.bound:.1e} is allowed)"
    )
    return {"result": result, "compared": report.compared, "notes": list(report.notes)}


def _first_failure(report: Report) -> str:
    row = report.first_failure
    if row is None:
        return f": only {report.compared} of the model's {report.endpoints} endpoints are in its graph"
    if isinstance(row, WeightRow):
        return f", {row.name} first ({row.finding})"
    if row.shape != row.model_shape:
        return f", {row.name} first: {row.shape} in the source's graph, {row.model_shape} in the model"
    if report.agreement:
        return f", {row.name} first: its cosine similarity is {row.cosine:.4f}"
    return f", {row.name} first: {row.reference_error:.1e} from the exact model, and {row.bound:.1e} is allowed"


@contextlib.contextmanager
def runnable_graph(origin: Variables) -> Iterator[pathlib.Path | None]:
    """The frozen graph, module or folder of transformers (if installed) that a source is, holds or has next to it."""
    if isinstance(origin, Mapping):
        yield None
        return
    path = pathlib.Path(origin)
    if (graph := graph_file(path) or litert_file(path)) is not None:
        yield graph
    else:
        with transformers_folder_of(path) as inner:
            if inner is not None:
                yield inner if transformers_run.is_installed() else None
                return
        with folder_of(path) as folder:
            if folder is not None:
                yield graph_in(folder)
                return
        with network_next_to(path) as file:
            yield file if file is not None and file.suffix == ".pb" else None
