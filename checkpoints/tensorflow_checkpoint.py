"""TensorFlow checkpoints in both formats: V2 (an index and data shards) and V1 (a single file, or shards)."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from checkpoints.errors import CheckpointError, reason
from checkpoints.saved_slices import open_v1, write_v1
from checkpoints.tensor_bundle import open_v2, read_index, write_v2
from checkpoints.variable_file import NUMBERS, storable

__all__ = ["V1_DTYPES", "V2_DTYPES", "open_v1", "open_v2", "read_index", "save_checkpoint"]

V1_DTYPES = frozenset(np.dtype(code).name for code in "?bhiqBfd")
V2_DTYPES = NUMBERS | {"bfloat16"}


def save_checkpoint(variables: Mapping[str, np.ndarray], prefix: str | os.PathLike[str], version: int = 2) -> None:
    """Writes variables as a TensorFlow checkpoint, whole or not at all; an existing one is replaced.

    Args:
        variables: arrays by name. V2 format stores booleans, integers, float16, bfloat16, float32, float64 and
            complex numbers; V1 format only booleans, int8 to int64, uint8, float32 and float64.
        prefix: V2: ``prefix.index`` and ``prefix.data-00000-of-00001`` are written. V1: the path of the file.
        version: the format, 1 or 2.

    Raises:
        CheckpointError: there are no variables, the format cannot store a name or a dtype, or the folder does not
            exist or is not writable.

    Example:
        checkpoints.save_checkpoint(converters.slim_variables(model), "model.ckpt")
    """
    if version not in _WRITERS:
        raise CheckpointError(f"A checkpoint has format version 1 or 2, not {version!r}.")
    dtypes, other, write = _WRITERS[version]
    arrays = storable(variables, dtypes, f"checkpoint in V{version} format")
    path = Path(prefix).absolute()
    # A path must not name two checkpoints, one of each format.
    if (twin := Path(f"{path}{other}")).is_file():
        raise CheckpointError(f"{path} cannot be written, because {twin} exists, a checkpoint in the other format.")
    try:
        write(arrays, path)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} could not be written: {error.strerror or reason(error)}.") from error


# Of each format: its dtypes, the suffix of a checkpoint in the other format at the same path, its writer.
_WRITERS = {1: (V1_DTYPES, ".index", write_v1), 2: (V2_DTYPES, "", write_v2)}
