"""Files of variables: every source becomes ``{name: array}``, and such a mapping becomes a file again.

Nothing heavy is imported before it is used: TensorFlow and h5py come with the function that needs them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "archive": ["is_archive"],
        "checksum": ["masked_crc32c"],
        "errors": ["CheckpointError", "CheckpointNotFound", "DownloadError"],
        "cache": ["cache_folder", "fetch"],
        "files": ["replacing", "sha256"],
        "hdf5": ["save_hdf5"],
        "reading": ["load_variables", "open_variables", "unpacked"],
        "tensorflow_checkpoint": ["save_checkpoint"],
        "variable_file": ["VariableFile"],
    },
)
