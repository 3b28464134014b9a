"""Finds the checkpoint that a path refers to: its prefix, one of its files, or its folder."""

import re
from pathlib import Path

import tensorflow as tf

from checkpoints import sstable
from checkpoints.errors import CheckpointError, CheckpointNotFound

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
    """Returns the V1 checkpoint that a path refers to (the file itself, or that of a ``.meta``), or None."""
    file = path.with_suffix("") if path.suffix == ".meta" else path
    return file if sstable.is_table(file) else None


def checkpoints_in(folder: Path, pattern: str = "*") -> list[Path]:
    """Returns the checkpoints in a folder: the index of those in V2 format, the file of those in V1 format."""
    files = [file for file in folder.glob(pattern) if file.is_file() and not file.name.startswith(".")]
    indices = {file.with_name(f"{member[1]}.index") for file in files if (member := _V2_MEMBER.fullmatch(file.name))}
    singles = {file for file in files if not _V2_MEMBER.fullmatch(file.name) and sstable.is_table(file)}
    return sorted(indices | singles)


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
    state = tf.train.get_checkpoint_state(str(folder)) if (folder / "checkpoint").is_file() else None
    if state and state.model_checkpoint_path:
        # The folder may have been moved, so only the last part of the path counts.
        name = Path(state.model_checkpoint_path).name
        named = [path for path in paths if path.name in (name, f"{name}.index")]
        if not named:
            raise CheckpointNotFound(f"{folder / name} is missing, although {folder / 'checkpoint'} names it.")
        return named[-1]
    if not paths:
        raise CheckpointNotFound(f"{folder} is a folder without a checkpoint.")
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise CheckpointError(f"{folder} holds {len(paths)} checkpoints; name one of them: {names}.")
    return paths[0]
