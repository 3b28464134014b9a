"""``.keras`` files with their manifests, written once they are verified."""

import functools
import pathlib

import checkpoints
from converters.conversion import Conversion
from converters.manifest import manifest_of
from converters.manifest_file import add_manifest, check_model_path, manifest_path, text_of
from converters.old_keras import drop_new_arguments
from converters.saved_file import verify_file
from converters.sources import Source


def save_model(
    conversion: Conversion, path: str | pathlib.Path, force: bool = False, *, verify: bool = True, partial: bool = False
) -> dict:
    """Writes the model and its manifest, whole or not at all, once the written file is verified.

    The file is loaded again. Its weights are compared with the source bit for bit, its structure with the network that
    was built, and, where the source is or holds a graph that can be run, its outputs with that graph at every endpoint.

    Args:
        conversion: from `converters.conversion_of`.
        path: the ``.keras`` file. The manifest is written into it, and as ``<name>.manifest.json`` next to it.
        force: whether existing files are replaced; without it also no file of others with the manifest's name is.
        verify: whether the file is compared before it gets its name.
        partial: whether a graph with fewer than half of the model's endpoints is enough.

    Returns:
        The manifest. Its entry ``verification`` says what was compared.

    Raises:
        VerificationError: a comparison failed; ``reports`` of the error holds the reports, and nothing is written.
        ConversionError: the file exists, or its name does not end in ``.keras``.
        OSError: the folder does not exist or cannot be written.

    Example:
        >>> conversion = converters.conversion_of("mobilenet_v1_0.25_128.tgz")
        >>> manifest = converters.save_model(conversion, "model.keras")
    """
    path = pathlib.Path(path)
    check_model_path(path, force)
    # The manifest is moved first: a new model never stands without it. Its own copy is in the model.
    check = functools.partial(check_model_path, path, force)
    with checkpoints.replacing_all([manifest_path(path), path], check) as (manifest_file, model_file):
        conversion.model.save(model_file)
        drop_new_arguments(model_file)
        verification = None
        if verify:
            with Source(conversion.origin).unpacked():
                verification = verify_file(conversion, model_file, str(path), partial)
        manifest = manifest_of(conversion, verification)
        add_manifest(model_file, manifest)
        manifest_file.write_text(text_of(manifest))
    return manifest
