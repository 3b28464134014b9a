"""Which checkpoint a path means: a prefix, a member file, or the folder that holds one."""

import re
from pathlib import Path

import tensorflow as tf

from checkpoints import sstable
from checkpoints.errors import CheckpointError, CheckpointNotFound

_V2_MEMBER = re.compile(r"(.+)\.(index|data-\d{5}-of-\d{5})")


def v2_prefix(path: Path) -> Path | None:
    """Return the prefix of the V2 checkpoint that a path means, or None where it means something else.

    Some of the checkpoint's files may be missing. A file that exists and is no member means itself, even where it is
    also the prefix of a checkpoint.
    """
    if member := _V2_MEMBER.fullmatch(path.name):
        prefix = path.with_name(member[1])
    elif path.suffix == ".meta":
        prefix = path.with_suffix("")
    elif path.exists():
        return None
    else:
        prefix = path
    is_there = path.parent.is_dir() and any(
        (member := _V2_MEMBER.fullmatch(file.name)) and member[1] == prefix.name for file in path.parent.iterdir()
    )
    return prefix if is_there else None


def v1_file(path: Path) -> Path | None:
    """Return the V1 checkpoint that a path means (itself, or the one beside its ``.meta``), or None."""
    file = path.with_suffix("") if path.suffix == ".meta" else path
    return file if sstable.is_table(file) else None


def checkpoints_in(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the checkpoints in a folder: the index of those in V2 format, the file of those in V1 format."""
    files = [file for file in folder.glob(pattern) if file.is_file() and not file.name.startswith(".")]
    indices = {file.with_name(f"{member[1]}.index") for file in files if (member := _V2_MEMBER.fullmatch(file.name))}
    singles = {file for file in files if not _V2_MEMBER.fullmatch(file.name) and sstable.is_table(file)}
    return sorted(indices | singles)


def the_checkpoint_in(folder: Path) -> Path:
    """Return the one checkpoint in a folder: the one that its file ``checkpoint`` names, or else the only one.

    Raises:
        CheckpointNotFound: There is none, or not the one that is named.
        CheckpointError: There are several, and nothing names one.
    """
    found = checkpoints_in(folder)
    state = tf.train.get_checkpoint_state(str(folder)) if (folder / "checkpoint").is_file() else None
    if state and state.model_checkpoint_path:
        # The folder may have been moved since, so that only the last part of the path counts.
        name = Path(state.model_checkpoint_path).name
        named = [path for path in found if path.name in (name, f"{name}.index")]
        if not named:
            raise CheckpointNotFound(
                f"{folder / name} is not there, although the file {folder / 'checkpoint'} names it."
            )
        return named[-1]
    if not found:
        raise CheckpointNotFound(f"{folder} is a folder without a checkpoint.")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise CheckpointError(f"{folder} holds {len(found)} checkpoints, of which one is to be named: {names}.")
    return found[0]
