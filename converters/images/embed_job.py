"""``python -m converters.images.embed_job``: feature vectors on an engine of Apache Beam, such as Dataflow or Flink.

Options that are not listed here are those of the engine.
"""

import argparse
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from converters.images.embed_beam import embed_with_beam
from converters.images.image_paths import ImagePaths
from converters.runtimes.table import CHOICES


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments and runs the job to its end."""
    parser = argparse.ArgumentParser(prog="python -m converters.images.embed_job", description=__doc__)
    parser.add_argument("model", help="a .keras file, or the name of a published model; gs:// and s3:// too")
    parser.add_argument("images", nargs="*", help="image files, folders and globs; gs:// and s3:// files too")
    parser.add_argument("--list", action="append", default=[], help="a file with one path or URL per line")
    parser.add_argument("--output", required=True, help="the beginning of the files' names")
    parser.add_argument("--runtime", choices=CHOICES, default="auto")
    parser.add_argument("--threads", type=int, help="threads of a worker  [that of its cores]")
    parser.add_argument("--batch-size", type=int, default=32)
    ours, engine = parser.parse_known_args(arguments)
    if not ours.images and not ours.list:
        parser.error("name an image, or give --list")
    embed_with_beam(
        ours.model,
        ImagePaths(ours.images, ours.list),
        ours.output,
        batch_size=ours.batch_size,
        runtime=ours.runtime,
        threads=ours.threads,
        options=PipelineOptions(engine) if engine else None,
    )


if __name__ == "__main__":
    main()
