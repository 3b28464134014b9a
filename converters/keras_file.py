"""``.keras`` files: opened in safe mode, saved once they are verified, loaded against their manifest."""

import functools
import pathlib

import keras

import checkpoints
import mobilenets
from converters.conversion import Conversion
from converters.differences import Difference, describe, name_only
from converters.errors import ConversionError
from converters.keras_archive import check_archive
from converters.manifest import configured_structure, differing_variables, manifest_of, published_in_manifest
from converters.manifest_file import add_manifest, check_model_path, manifest_path, manifests_of, text_of
from converters.structure import structure, structure_differences
from converters.weights import slim_variables


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
    from converters.saved_file import verify_file

    path = pathlib.Path(path)
    check_model_path(path, force)
    # The manifest is moved first: a new model never stands without it. Its own copy is in the model.
    check = functools.partial(check_model_path, path, force)
    with checkpoints.replacing_all([manifest_path(path), path], check) as (manifest_file, model_file):
        conversion.model.save(model_file)
        verification = verify_file(conversion, model_file, str(path), partial) if verify else None
        manifest = manifest_of(conversion, verification)
        add_manifest(model_file, manifest)
        manifest_file.write_text(text_of(manifest))
    return manifest


def load_model(path: str | pathlib.Path) -> keras.Model:
    """Loads a ``.keras`` file and compares every weight and layer with its manifest.

    The manifest in the file counts, and the one next to it if it is of the same conversion; files of others have only
    the latter.

    Args:
        path: the ``.keras`` file; ``<name>.manifest.json`` lies next to it. The file is opened in Keras's safe mode.

    Raises:
        ConversionError: a weight or a layer is not as the manifest lists it (a changed file, or weights that traded
            places), or the file is no Keras model.
        OSError: a file is missing or cannot be read.
    """
    model = open_keras_file(path)
    if not manifest_path(path).exists():
        raise FileNotFoundError(f"The manifest {manifest_path(path)} of the model {path} does not exist.")
    return _compared(model, path)


def _compared(model: keras.Model, path: str | pathlib.Path) -> keras.Model:
    """The model, which agrees with its manifests."""
    for manifest in manifests_of(path):
        variables = _differences(model, manifest, path)
        if variables:
            # Training changes most variables: a list of them would say nothing more.
            few = 2 * len(variables) <= len(manifest["variables"])
            listed = describe(variables, "different", name_only) + "\n" if few else "most of them differ. "
            raise ConversionError(_other_weights(path, listed))
        differing = structure_differences(structure(model), configured_structure(manifest))
        if differing:
            listed = "\n".join(f"! {name}: {text}" for name, text in list(differing.items())[:5])
            raise ConversionError(
                f"{path} has the weights that its manifest lists in another network: {len(differing)} layers differ\n"
                f"{listed}"
            )
    return model


def _differences(model: keras.Model, manifest: dict, path: str | pathlib.Path) -> list[Difference]:
    try:
        variables = slim_variables(model)
    except ConversionError as error:
        # Layers that convert does not write: a head of the user's own.
        raise ConversionError(_other_weights(path, "it has other layers. ")) from error
    return differing_variables(variables, manifest)


def _other_weights(path: str | pathlib.Path, difference: str) -> str:
    return (
        f"{path} does not hold the weights that its manifest lists: {difference}If it was trained or changed since it "
        f"was converted, save it under another name, or delete {manifest_path(path)}."
    )


def open_keras_file(path: str | pathlib.Path) -> keras.Model:
    """Loads a ``.keras`` file in safe mode (no code from the file is run), without looking for a manifest.

    Raises:
        ConversionError: the file is no Keras model.
        FileNotFoundError: there is no such file.
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        raise ConversionError(f"The model {path} must be a .keras file.")
    if not path.is_file():
        raise FileNotFoundError(f"The model {path} does not exist.")
    check_archive(path)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        # Keras lets zipfile's, h5py's and its own errors of many types through.
        raise ConversionError(f"{path} cannot be opened as a Keras model: {checkpoints.reason(error)}.") from error


def load_checked_model(path: str | pathlib.Path) -> tuple[keras.Model, mobilenets.ModelInfo | None]:
    """Loads a ``.keras`` file and, where a manifest is in it or next to it, compares it with the manifest.

    Returns:
        The model, and the published model that the manifest names, if any.

    Raises:
        ConversionError: See `load_model`; a missing manifest is no error.
        FileNotFoundError: The file does not exist.
    """
    return _compared(open_keras_file(path), path), published_in_manifest(path)
