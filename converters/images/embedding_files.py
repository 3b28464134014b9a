"""Feature vectors on disk: a file for each part while a job runs, and one file in the end, written as a stream."""

import json
import pathlib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from converters.images.reasons import Broken

METADATA = "mobilenets"


class Part(NamedTuple):
    """Feature vectors of some images: paths, float32 ``(len(paths), features)``, and the broken images."""

    paths: tuple[str, ...]
    features: np.ndarray
    broken: tuple[Broken, ...]


def write_part(path: pathlib.Path, part: Part) -> None:
    """Writes a part (an uncompressed ``.npz``)."""
    with open(path, "wb") as stream:
        np.savez(stream, paths=part.paths, features=part.features, broken=json.dumps(part.broken))


def read_part(path: pathlib.Path) -> Part:
    """Reads a part.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            broken = tuple(Broken(*entry) for entry in json.loads(str(arrays["broken"])))
            return Part(tuple(arrays["paths"].tolist()), arrays["features"], broken)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged: delete it and run again.") from error


def write_parquet(path: pathlib.Path, parts: Sequence[pathlib.Path], num_features: int, metadata: Mapping) -> None:
    """Writes the parts as one Parquet file, one row group each: ``path`` (string), ``features`` (list of float32)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = parquet_schema(num_features).with_metadata({METADATA: json.dumps(metadata)})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in map(read_part, parts):
            features = pa.FixedSizeListArray.from_arrays(part.features.ravel(), num_features)
            writer.write_table(pa.table([pa.array(part.paths, pa.string()), features], schema=schema))


def parquet_schema(num_features: int):
    """Returns the columns of a Parquet file of feature vectors."""
    import pyarrow as pa

    return pa.schema([("path", pa.string()), ("features", pa.list_(pa.float32(), num_features))])


def write_npz(path: pathlib.Path, parts: Sequence[pathlib.Path], num_features: int, metadata: Mapping) -> None:
    """Writes the parts as one ``.npz``: ``paths``, ``features`` (count, features), and the metadata as JSON."""
    count, width = 0, 1
    for part in map(read_part, parts):
        count += len(part.paths)
        width = max([width, *map(len, part.paths)])
    paths = (np.array(part.paths, f"<U{width}") for part in map(read_part, parts))
    features = (part.features.astype("<f4") for part in map(read_part, parts))
    with zipfile.ZipFile(path, "w") as archive:
        _stream(archive, "paths", f"<U{width}", (count,), paths)
        _stream(archive, "features", "<f4", (count, num_features), features)
        text = np.array(json.dumps(metadata))
        _stream(archive, METADATA, text.dtype.str, (), [text])


def _stream(archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple, arrays: Iterable[np.ndarray]) -> None:
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    # A fixed date: the same job gives the same file.
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_2_0(stream, header)
        for array in arrays:
            stream.write(array.tobytes())


def metadata_of(path: pathlib.Path) -> dict:
    """Returns the metadata of a file of feature vectors; an empty dict for any other file.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return json.loads(str(arrays[METADATA]))
        import pyarrow.parquet as pq

        return json.loads(pq.read_schema(path).metadata[METADATA.encode()])
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return {}


WRITERS = {".parquet": write_parquet, ".npz": write_npz}
