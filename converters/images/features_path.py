"""What an output of `converters.embed` needs, checked without Keras."""

import importlib.util
import pathlib

from converters.images.embedding_files import WRITERS
from converters.staging import check_output


def check_features_path(output: pathlib.Path) -> None:
    """Checks that an output can be written, before any work is done.

    An existing output is accepted here, because it may belong to the same job.

    Raises:
        ValueError: The name has another suffix, the folder does not exist, or pyarrow is not installed.
    """
    if output.suffix not in WRITERS:
        raise ValueError(f"The output {output} must end in {' or '.join(WRITERS)}.")
    if output.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ValueError(f"Writing {output} needs pyarrow: pip install 'mobilenets[embed]', or write an .npz file.")
    check_output(output, force=True)
    if output.is_dir():
        raise ValueError(f"The output {output} is a folder.")
