"""The check that stands before every writer."""

from collections.abc import Collection, Mapping

import numpy as np

from checkpoints.errors import CheckpointError

# Names of the dtypes that numpy has by itself and every machine knows: bool, integers, float16 to 64, complex.
NUMBERS = frozenset(np.dtype(code).name for code in "?bhiqBHIQefdFD")


def storable(variables: Mapping[str, np.ndarray], dtypes: Collection[str], format: str) -> dict[str, np.ndarray]:
    """Return the variables as arrays that a format can hold, in the order of their names.

    Args:
        variables: Arrays, or what numpy makes arrays of, by name.
        dtypes: Names of the dtypes that the format can hold.
        format: The format in words, for messages.

    Returns:
        Arrays in C order and native byte order with the same values, bit for bit.

    Raises:
        CheckpointError: There are no variables, or one has a name or a dtype that the format cannot hold.
    """
    if not variables:
        raise CheckpointError(f"A {format} needs at least one variable, but there are none to write.")
    if unnamed := [name for name in variables if not _is_name(name)]:
        raise CheckpointError(f"A {format} cannot hold a variable with the name {unnamed[0]!r}.")
    arrays = {name: np.asarray(variables[name], order="C") for name in sorted(variables)}
    for name, array in arrays.items():
        if array.dtype.name not in dtypes:
            raise CheckpointError(f"A {format} cannot hold {name}, whose dtype is {array.dtype}.")
        if not array.dtype.isnative:
            arrays[name] = array.astype(array.dtype.newbyteorder("="))
    return arrays


def _is_name(name: object) -> bool:
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
