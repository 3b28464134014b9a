"""Reads and writes files of variables as ``{name: array}``, and downloads published ones.

No format needs TensorFlow. NumPy and h5py are imported by the first function that needs them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "adopting": ["Adopted", "adopt"],
        "archive": ["is_archive"],
        "cache_path": ["cache_folder"],
        "cached": ["Cached", "cached_files", "remove_cached"],
        "checksum": ["masked_crc32c"],
        "errors": ["CheckpointError", "CheckpointNotFound", "DownloadError", "reason"],
        "files": ["check_name", "replacing", "replacing_all", "sha256", "staged"],
        "hdf5": ["save_hdf5"],
        "inputs": ["check_regular", "parse_json", "read_bounded", "read_json"],
        "origins": ["Fetched", "fetch", "fetched"],
        "plain_text": ["public_url", "shown"],
        "reading": ["load_variables", "open_variables", "unpacked"],
        "safetensors_file": ["save_safetensors"],
        "tensorflow_checkpoint": ["save_checkpoint"],
        "transformers_folder": ["is_transformers_folder"],
        "variable_file": ["VariableFile"],
    },
)
