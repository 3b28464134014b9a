"""The job of `converters.images.embedding` on many machines, with Apache Beam.

The same job runs on Dataflow, Flink, Spark, or in this process. Beam was chosen over Ray Data because its local engine
needs no servers and ports, because its writers name a file only when it is complete, on local disks and object stores,
and because a step can have several outputs, so broken images are an output of their own.
"""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from converters.images.embedder import Embedder, rows
from converters.images.embedding import PART_SIZE
from converters.images.embedding_files import parquet_schema
from converters.images.image_paths import chunks
from converters.images.models import ImageModel, open_image_model
from converters.images.remote_files import copy, is_remote, local_copies, renamed

log = logging.getLogger(__name__)


class EmbedImages(beam.DoFn):
    """Turns a list of paths into rows ``{"path", "features"}``, and into lines of JSON at the output ``"broken"``.

    The model is opened once in every worker, not sent to it.

    Args:
        source: Anything that `converters.open_image_model` takes; every worker must be able to read it.
        image_size: Height and width of the images; by default the model's.
        batch_size: The number of images that the network takes at once.
        runtime: As in `converters.inference_function`; it is compared with the exact model on noise.
        threads: Likewise.
    """

    def __init__(
        self,
        source: str,
        image_size: int | tuple[int, int] | None = None,
        batch_size: int = 32,
        runtime: str = "keras",
        threads: int | None = None,
    ):
        self.source, self.image_size, self.batch_size = source, image_size, batch_size
        self.runtime, self.threads = runtime, threads

    def setup(self):
        """Opens the model."""
        model = open_anywhere(self.source, self.image_size, self.runtime, self.threads)
        self.embedder = Embedder(model, self.batch_size)
        for note in self.embedder.notes:
            log.info(note)

    def process(self, paths: list[str]):
        """Embeds one part. Images at URLs are copied to this machine first."""
        with local_copies(paths) as names:
            part = renamed(self.embedder(list(names)), names)
        yield from rows(part)
        for broken in part.broken:
            yield beam.pvalue.TaggedOutput("broken", json.dumps(broken._asdict()))


def open_anywhere(
    source: str, image_size: int | tuple[int, int] | None, runtime: str = "keras", threads: int | None = None
) -> ImageModel:
    """Opens a model as `open_image_model` does, also a ``.keras`` file of an object store."""
    with contextlib.ExitStack() as resources:
        if is_remote(source) and source.endswith(".keras"):
            folder = resources.enter_context(tempfile.TemporaryDirectory())
            file = os.path.join(folder, "model.keras")
            copy(source, file)
            copy(f"{source.removesuffix('.keras')}.manifest.json", os.path.join(folder, "model.manifest.json"))
            if not os.path.exists(file):
                with open(f"{file}.failed") as reason:
                    raise OSError(f"The model {source} cannot be read: {reason.read()}.")
            source = file
        return open_image_model(source, image_size, runtime=runtime, threads=threads)


def embed_with_beam(
    source: str | os.PathLike,
    images: Iterable[str],
    output: str | os.PathLike,
    *,
    image_size: int | tuple[int, int] | None = None,
    part_size: int = PART_SIZE,
    batch_size: int = 32,
    runtime: str = "keras",
    threads: int | None = None,
    options: PipelineOptions | None = None,
) -> None:
    """Writes feature vectors to ``<output>-<n>-of-<all>.parquet`` and broken images to ``<output>-broken-...jsonl``.

    The rows are those of `converters.images.embedding.embed` with the same sizes, in no particular order.

    Args:
        source: The model: a ``.keras`` file, also of an object store, or anything else that
            `converters.open_image_model` takes.
        images: Paths: `converters.ImagePaths`, or a list. One worker lists them and all workers read them, so every
            worker must be able to read the folder and the model. URLs (``gs://``, ``s3://``) are read through Beam's
            file systems.
        output: The beginning of the files' names, on any file system that Beam writes to.
        image_size: Height and width of the images; by default the model's.
        part_size: The number of images in one piece of work.
        batch_size: The number of images that the network takes at once.
        runtime: As in `converters.inference_function`. Every worker compares it with the exact model, on noise.
        threads: Likewise; by default that of a worker's cores.
        options: Options of the engine. Without them the job runs in this process and returns when it is finished.

    Raises:
        ValueError: The model has no feature vectors.
        OSError: The model cannot be read.
    """
    num_features = open_anywhere(os.fspath(source), image_size).num_features()
    embed_images = EmbedImages(os.fspath(source), image_size, batch_size, runtime, threads)
    # Without options Beam may choose Prism, whose program it downloads first.
    with beam.Pipeline(runner=None if options else FnApiRunner(), options=options) as pipeline:
        outputs = (
            pipeline
            | "images" >> beam.Create([images])
            | "parts" >> beam.FlatMap(lambda paths: chunks(paths, part_size))
            | "to all workers" >> beam.Reshuffle()
            | "embed" >> beam.ParDo(embed_images).with_outputs("broken", main="rows")
        )
        outputs.rows | beam.io.WriteToParquet(
            os.fspath(output), parquet_schema(num_features), codec="zstd", file_name_suffix=".parquet"
        )
        outputs.broken | beam.io.WriteToText(f"{os.fspath(output)}-broken", file_name_suffix=".jsonl")
