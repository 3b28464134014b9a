"""Variables in several files of safetensors (shards), with an index that says which file has which tensor."""

import contextlib
from pathlib import Path

import numpy as np

from checkpoints.errors import CheckpointError, reason
from checkpoints.inputs import read_json
from checkpoints.plain_text import few
from checkpoints.safetensors_file import SUFFIX, open_safetensors
from checkpoints.variable_file import VariableFile

INDEX_SUFFIX = f"{SUFFIX}.index.json"


def is_index(path: Path) -> bool:
    """Returns whether a path is that of an index, such as ``model.safetensors.index.json``."""
    return path.name.endswith(INDEX_SUFFIX) and path.is_file()


def open_shards(index: Path) -> VariableFile:
    """Opens all shards of an index: each has exactly the tensors that the index says.

    Raises:
        CheckpointError: the index is damaged or names a file outside of its folder, a shard is missing or damaged, or a
            shard has other tensors than the index says.
    """
    homes = _weight_map(index)
    with contextlib.ExitStack() as resources:
        shards = {name: _open_shard(index, name, resources) for name in sorted(set(homes.values()))}
        for name, shard in shards.items():
            expected = {key for key, home in homes.items() if home == name}
            if missing := sorted(expected - shard.keys()):
                raise CheckpointError(f"{index.with_name(name)} lacks {few(missing)}, which {index.name} says it has.")
            if unlisted := sorted(shard.keys() - expected):
                raise CheckpointError(f"{index.with_name(name)} has {few(unlisted)}, which {index.name} does not list.")

        def read(key: str) -> np.ndarray:
            return shards[homes[key]][key]

        return VariableFile(
            index,
            "safetensors",
            (index, *(index.with_name(name) for name in shards)),
            {key: shards[home].specs[key] for key, home in homes.items()},
            read,
            checked=all(shard.checked for shard in shards.values()),
            resources=resources.pop_all(),
        )


def _open_shard(index: Path, name: str, resources: contextlib.ExitStack) -> VariableFile:
    file = index.with_name(name)
    if not file.is_file():
        raise CheckpointError(f"{file} is missing, although {index.name} names it.")
    return resources.enter_context(open_safetensors(file))


def _weight_map(index: Path) -> dict[str, str]:
    """Returns ``{tensor: name of its file}``."""
    content = read_json(index)
    try:
        names = {str(key): str(name) for key, name in content["weight_map"].items()}
    except (LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{index} is damaged: expected is a JSON object with a `weight_map` ({reason(error)})."
        ) from error
    for name in names.values():
        if not name.endswith(SUFFIX) or Path(name).name != name or "\\" in name:
            raise CheckpointError(
                f"{index} is refused, because it names {name!r}, which is no {SUFFIX} file next to it."
            )
    return names
