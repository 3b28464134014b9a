"""Names files that people hand in and that hold no variables by slim names, and what to do instead."""

import zipfile
from pathlib import Path


def foreign_kind(path: Path) -> str | None:
    """Returns what a file is and what to do, as the rest of a sentence; None for an unknown kind."""
    if path.suffix == ".meta":
        prefix = path.name.removesuffix(".meta")
        return f"is a graph without its checkpoint. Copy {prefix}.index and {prefix}.data-... into its folder."
    with open(path, "rb") as stream:
        head = stream.read(512)
    if head.startswith(b"PK\3\4"):
        return _zip_kind(path)
    if head[4:8] == b"TFL3":
        return "is a LiteRT (TensorFlow Lite) model, which holds no variables by name. converters.convert reads it."
    if head.startswith(b"\x80") and head[1:2] in b"\2\3\4\5":
        return f"is a Python pickle, as PyTorch writes them. {_SAVE_ARRAYS}"
    if head.startswith(b"\x93NUMPY"):
        return f"is a NumPy array. {_SAVE_ARRAYS}"
    if head.lstrip().startswith((b"node {", b"node{", b"versions {")):
        return "is a graph as text. Give it the suffix .pbtxt."
    if head.startswith(b"model_checkpoint_path"):
        return "is the state file of a checkpoint. Its name must be checkpoint, in the folder of the checkpoint."
    return None


_SAVE_ARRAYS = "Load its arrays in Python and pass them to converters.convert as {slim variable name: array}."


def _zip_kind(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError):
        return None
    if {"config.json", "metadata.json"} <= names:
        return "is already a Keras model: keras.models.load_model loads it."
    if "data.pkl" in names:
        return f"is a PyTorch file. {_SAVE_ARRAYS}"
    if any(name.endswith(".npy") for name in names):
        return f"is a NumPy .npz file. {_SAVE_ARRAYS}"
    return "is a zip archive without a checkpoint."
