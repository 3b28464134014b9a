"""TensorFlow's types of values: their numbers in files, their NumPy dtypes, and the fields that list such values.

Source: ``core/framework/types.proto`` and ``tensor.proto``. A number above 100 is a reference, which no file of values
has.
"""

from typing import NamedTuple

import ml_dtypes
import numpy as np

from checkpoints.errors import CheckpointError

STRING = 7
# Types without an array of numbers: strings, resources and variants.
NOT_NUMERIC = frozenset({STRING, 20, 21})


class DataType(NamedTuple):
    """A type of values.

    Attributes:
        dtype: of NumPy; a quantized type has a dtype with one field, of the type's name.
        field: the field of a ``TensorProto`` that lists values one by one; "" if there is none.
    """

    dtype: np.dtype
    field: str


# Number, name in NumPy or ml_dtypes, field.
_ROWS = [
    (1, "float32", "float_val"),
    (2, "float64", "double_val"),
    (3, "int32", "int_val"),
    (4, "uint8", "int_val"),
    (5, "int16", "int_val"),
    (6, "int8", "int_val"),
    (8, "complex64", "scomplex_val"),
    (9, "int64", "int64_val"),
    (10, "bool", "bool_val"),
    (14, "bfloat16", "half_val"),
    (17, "uint16", "int_val"),
    (18, "complex128", "dcomplex_val"),
    (19, "float16", "half_val"),
    (22, "uint32", "uint32_val"),
    (23, "uint64", "uint64_val"),
    (24, "float8_e5m2", "float8_val"),
    (25, "float8_e4m3fn", "float8_val"),
    (26, "float8_e4m3fnuz", "float8_val"),
    (27, "float8_e4m3b11fnuz", "float8_val"),
    (28, "float8_e5m2fnuz", "float8_val"),
    (29, "int4", "int_val"),
    (30, "uint4", "int_val"),
    (31, "int2", "int_val"),
    (32, "uint2", "int_val"),
    (33, "float4_e2m1fn", ""),
]
_QUANTIZED = [
    (11, "qint8", "int8"),
    (12, "quint8", "uint8"),
    (13, "qint32", "int32"),
    (15, "qint16", "int16"),
    (16, "quint16", "uint16"),
]

DATA_TYPES = {
    number: DataType(np.dtype(getattr(ml_dtypes, name, name)), field)
    for number, name, field in _ROWS
    if number < 24 or hasattr(ml_dtypes, name)  # older versions of ml_dtypes lack the newest
} | {number: DataType(np.dtype([(name, stored)]), "") for number, name, stored in _QUANTIZED}
NUMBERS_BY_NAME = {name: number for number, name, _ in _ROWS}


def require_numbers(name: str, path: object, dtype: np.dtype) -> None:
    """Refuses a quantized type: its integers mean nothing without their range, which is not stored with them.

    Raises:
        CheckpointError: the type is quantized.
    """
    if dtype.names:
        raise CheckpointError(f"{name} in {path} is declared as {dtype.names[0]}, a quantized type, which is not read.")
