"""Finds the checkpoint that a path refers to: its prefix, one of its files, or its folder."""

import re
from pathlib import Path

from checkpoints import sstable
from checkpoints.errors import CheckpointError, CheckpointNotFound
from checkpoints.frozen_graph import NODE
from checkpoints.saved_slices import SHARD
from checkpoints.state_file import newest_checkpoint

_V2_MEMBER = re.compile(r"(.+)\.(index|data-\d{5}-of-\d{5})")


def v2_prefix(path: Path) -> Path | None:
    """Returns the prefix of the V2 checkpoint that a path refers to, or None.

    Some of the checkpoint's files may be missing. An existing file that is not part of a V2 checkpoint refers to
    itself, even if it is also the prefix of one.
    """
    if member := _V2_MEMBER.fullmatch(path.name):
        prefix = path.with_name(member[1])
    elif path.suffix == ".meta":
        prefix = path.with_suffix("")
    elif path.exists():
        return None
    else:
        prefix = path
    exists = path.parent.is_dir() and any(
        (member := _V2_MEMBER.fullmatch(file.name)) and member[1] == prefix.name for file in path.parent.iterdir()
    )
    return prefix if exists else None


def v1_file(path: Path) -> Path | None:
    """Returns the V1 checkpoint that a path refers to, or None.

    A path is that of the file, of its ``.meta``, or of one of several shards; or what all shards have in common, with
    or without ``-?????-of-00002``, which is how TensorFlow names them together.
    """
    file = path.with_suffix("") if path.suffix == ".meta" else path
    if sstable.is_table(file):
        return file
    if file.exists() or not file.parent.is_dir():
        return None
    shards = [other for other in file.parent.iterdir() if file.name in _names_together(other)]
    return next((shard for shard in sorted(shards) if sstable.is_table(shard)), None)


def _names_together(shard: Path) -> list[str]:
    """Returns what a shard of a V1 checkpoint and its others are named together; nothing for other files."""
    member = SHARD.fullmatch(shard.name)
    return [member[1], f"{member[1]}-?????-of-{member[3]}"] if member else []


def state_file(path: Path) -> Path | None:
    """Returns the path of a state file ``checkpoint``, which names the newest checkpoint of its folder, or None."""
    is_text = path.name == "checkpoint" and path.is_file() and not sstable.is_table(path)
    return path if is_text and path.stat().st_size else None


def saved_model(path: Path) -> Path | None:
    """Returns the folder of the SavedModel that a path refers to (the folder, or its ``saved_model.pb``), or None."""
    file = path / "saved_model.pb" if path.is_dir() else path
    if file.name != "saved_model.pb" or not file.is_file() or _begins_like_a_graph(file):
        return None
    has_variables = (file.parent / "variables" / "variables.index").is_file()
    # Detection archives have a SavedModel without variables next to their checkpoint.
    return None if path.is_dir() and not has_variables and checkpoints_in(path) else file.parent


def graph_named_saved_model(path: Path) -> Path | None:
    """Returns the frozen graph of the name ``saved_model.pb`` in a folder without a checkpoint, or None."""
    file = path / "saved_model.pb"
    return file if file.is_file() and _begins_like_a_graph(file) and not checkpoints_in(path) else None


def _begins_like_a_graph(file: Path) -> bool:
    """Returns whether a protobuf message begins with a node, as a graph does; a SavedModel begins with its version."""
    with open(file, "rb") as stream:
        return stream.read(1) == NODE


def checkpoints_in(folder: Path, pattern: str = "*") -> list[Path]:
    """Returns the checkpoints in a folder: the index of those in V2 format, the file of those in V1 format."""
    files = [file for file in folder.glob(pattern) if file.is_file() and not file.name.startswith(".")]
    indices = {file.with_name(f"{member[1]}.index") for file in files if (member := _V2_MEMBER.fullmatch(file.name))}
    singles = {file for file in files if not _V2_MEMBER.fullmatch(file.name) and sstable.is_table(file)}
    # Of several shards the first stands for all.
    first = {tuple(_names_together(file)) or file: file for file in sorted(singles, reverse=True)}
    return sorted(indices | set(first.values()))


COPIES = ("ema", "pristine")
"""Folders of the two checkpoints of one network in the archives of MobileNet V3: averaged values under the names of the
variables, and the trainer's own values."""


def copies_in(folder: Path) -> dict[str, Path]:
    """Returns the two checkpoints of one network in the folders ``ema`` and ``pristine``; none if a folder is missing.

    Raises:
        CheckpointError: one of the two folders has no checkpoint, or several.
    """
    if not all((folder / name).is_dir() for name in COPIES):
        return {}
    return {name: the_checkpoint_in(folder / name) for name in COPIES}


def the_checkpoint_in(folder: Path) -> Path:
    """Returns the checkpoint of a folder: the one that its file ``checkpoint`` names, or else the only one.

    Raises:
        CheckpointNotFound: the folder has no checkpoint, or not the one that is named.
        CheckpointError: the folder has several checkpoints and no file ``checkpoint``.
    """
    paths = checkpoints_in(folder)
    if newest := newest_checkpoint(folder / "checkpoint"):
        # The folder may have been moved, so only the last part of the path counts.
        name = Path(newest).name
        named = [path for path in paths if path.name in (name, f"{name}.index") or name in _names_together(path)]
        if not named:
            raise CheckpointNotFound(f"{folder / name} is missing, although {folder / 'checkpoint'} names it.")
        return named[-1]
    if not paths:
        raise CheckpointNotFound(f"{folder} is a folder without a checkpoint.")
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise CheckpointError(f"{folder} holds {len(paths)} checkpoints; name one of them: {names}.")
    return paths[0]
