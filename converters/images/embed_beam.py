"""The job of `converters.images.embedding` over many machines, on Apache Beam.

Beam describes the job once and has it run by an engine that is there: Dataflow, Flink, Spark, or the process itself.
It was chosen over Ray Data because its local engine runs in the process, without servers and ports, because its file
writers give a file its name when it is whole, on local disks and object stores alike, and because a step with several
outputs is an ordinary thing in it, so that broken images are a second output and not a column to filter by.
"""

import json
import os
from collections.abc import Iterable

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from converters.images.embedding import PART_SIZE, Embedder, rows
from converters.images.embedding_files import parquet_schema
from converters.images.files import chunks
from converters.images.models import open_image_model


class EmbedImages(beam.DoFn):
    """From a list of paths to rows ``{"path", "features"}``, and to lines of JSON at the output ``"broken"``.

    The model is opened once in every worker, not sent to it.

    Args:
        source: what `converters.images.models.open_image_model` takes; every worker must find it.
        image_size: height and width of the images; by default the model's.
        batch_size: how many images go through the network at once.
    """

    def __init__(self, source: str, image_size: int | tuple[int, int] | None = None, batch_size: int = 32):
        self.source, self.image_size, self.batch_size = source, image_size, batch_size

    def setup(self):
        """Opens the model."""
        self.embedder = Embedder(open_image_model(self.source, self.image_size), self.batch_size)

    def process(self, paths: list[str]):
        """Embeds one part."""
        part = self.embedder(paths)
        yield from rows(part)
        for broken in part.broken:
            yield beam.pvalue.TaggedOutput("broken", json.dumps(broken._asdict()))


def embed_with_beam(
    source: str | os.PathLike,
    images: Iterable[str],
    output: str | os.PathLike,
    *,
    image_size: int | tuple[int, int] | None = None,
    part_size: int = PART_SIZE,
    batch_size: int = 32,
    options: PipelineOptions | None = None,
) -> None:
    """Writes feature vectors to ``<output>-<n>-of-<all>.parquet`` and broken images to ``<output>-broken-...jsonl``.

    The rows are those of `converters.images.embedding.embed` with the same sizes, in no particular order.

    Args:
        source: the model: a ``.keras`` file, or anything else `converters.images.models.open_image_model` takes.
        images: paths; `converters.images.files.ImagePaths`, or a list. They are found by one worker and read by all, so
            folder and model lie where every worker can read them.
        output: the beginning of the files' names, on any file system that Beam writes to.
        image_size: height and width of the images; by default the model's.
        part_size: images in a piece of work.
        batch_size: how many images go through the network at once.
        options: of the engine that runs it; without, the job runs in this process and returns when it is done.

    Raises:
        ValueError: the model has no feature vectors.
        OSError: the model cannot be read.
    """
    num_features = open_image_model(source, image_size).num_features()
    # Without options Beam might choose Prism, whose program it would download first.
    with beam.Pipeline(runner=None if options else FnApiRunner(), options=options) as pipeline:
        found = (
            pipeline
            | "images" >> beam.Create([images])
            | "parts" >> beam.FlatMap(lambda found: chunks(found, part_size))
            | "to all workers" >> beam.Reshuffle()
            | "embed"
            >> beam.ParDo(EmbedImages(os.fspath(source), image_size, batch_size)).with_outputs("broken", main="rows")
        )
        found.rows | beam.io.WriteToParquet(
            os.fspath(output), parquet_schema(num_features), codec="zstd", file_name_suffix=".parquet"
        )
        found.broken | beam.io.WriteToText(f"{os.fspath(output)}-broken", file_name_suffix=".jsonl")
