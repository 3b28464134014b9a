"""``.keras`` files: opened in safe mode, and compared with their manifests."""

import pathlib

import keras

import checkpoints
import mobilenets
from checkpoints.inputs import EXTRA_BYTES
from converters.differences import Difference, describe, name_only
from converters.errors import ConversionError
from converters.keras_archive import check_archive
from converters.manifest import configured_structure, differing_variables, published_in
from converters.manifest_file import manifest_path, manifests_of
from converters.old_keras import version_note
from converters.output_sizes import check_outputs
from converters.structure import structure, structure_differences
from converters.variable_limit import limited_variables
from converters.weights import slim_variables
from mobilenets.random_values import without_random_values


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
    return _compared(model, path, manifests_of(path))


def _compared(model: keras.Model, path: str | pathlib.Path, manifests: list[dict]) -> keras.Model:
    """Returns the model, which agrees with its manifests."""
    for manifest in manifests:
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
    most = check_archive(path)
    with limited_variables(most) as limit:
        try:
            with without_random_values():
                model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            # Keras lets zipfile's, h5py's and its own errors of many types through.
            if not limit.exceeded:
                reason = f"{checkpoints.reason(error)}{version_note(path)}"
                raise ConversionError(f"{path} cannot be opened as a Keras model: {reason}.") from error
    if limit.exceeded:
        raise ConversionError(
            f"{path} is refused, because its layers have variables of more than {most} bytes: the bytes of the "
            f"weights in the file and {EXTRA_BYTES}."
        )
    check_outputs(model, path)
    return model


def load_checked_model(path: str | pathlib.Path) -> tuple[keras.Model, mobilenets.ModelInfo | None]:
    """Loads a ``.keras`` file and, where a manifest is in it or next to it, compares it with the manifest.

    Returns:
        The model, and the published model that the manifest names, if any.

    Raises:
        ConversionError: See `load_model`; a missing manifest is no error.
        FileNotFoundError: The file does not exist.
    """
    model, manifests = open_keras_file(path), manifests_of(path)
    return _compared(model, path, manifests), published_in(manifests)
