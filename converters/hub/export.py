"""A model written as a TF-Hub module; `converters.hub.hub_object` makes the object that is saved."""

import functools
import json
import pathlib
import sys
import tempfile

import keras

import checkpoints
from converters.errors import ConversionError
from converters.staging import check_output, staged
from converters.tensorflow_extra import need_tensorflow, run_on_tensorflow
from converters.weights import weights_by_slim_name
from mobilenets.blocks import rescales_inputs


def export_hub(model: keras.Model, folder: str | pathlib.Path, force: bool = False) -> None:
    """Writes ``model`` as a TF-Hub module in TF2 format.

    MobileNet V2 and V3 keep their image size; MobileNet V1 and Inception V2 take any, as the published modules do.
    Training mode computes with TF1's fused batch norm, so moving variances take in unbiased variances, as the
    originals do.

    Args:
        model: a float32 network of this project with the head "classification" or "feature_vector" that takes images
            in [0, 1]. On another backend than TensorFlow, a process on TensorFlow writes the module.
        folder: of the module, to be created.
        force: whether an existing SavedModel is replaced.

    Raises:
        ConversionError: TensorFlow is not installed, the model is no such network, or the folder exists (with
            ``force``: and is no SavedModel), or its parent does not.
        OSError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    check_folder(folder, force)
    need_tensorflow("Exporting a hub module")
    _check(model)
    with staged(folder, functools.partial(check_folder, folder, force)) as unfinished:
        if keras.backend.backend() != "tensorflow":
            _write_on_tensorflow(model, unfinished)
            return
        import tensorflow as tf

        try:
            _write(model, unfinished)
        except tf.errors.OpError as error:  # TensorFlow's error for a full disk, among others
            raise ConversionError(f"{folder} was not written: {checkpoints.reason(error)}.") from error


def check_folder(folder: pathlib.Path, force: bool) -> None:
    """Refuses a folder that cannot be or must not be written, before any work is done."""
    check_output(folder, force)
    if folder.exists() and not (folder / "saved_model.pb").is_file():
        raise ConversionError(f"The output {folder} exists and is no SavedModel; it will not be replaced.")


def _check(model: keras.Model) -> None:
    weights = weights_by_slim_name(model)
    if any(weight.dtype != "float32" for weight in weights.values()):
        raise ConversionError(f"The model {model.name!r} must be a float32 model to become a hub module.")
    if len(model.output_shape) != 2:
        raise ConversionError(
            f"The model {model.name!r} gives {model.output_shape}; a hub module gives logits or a feature vector."
        )
    if not rescales_inputs(model):
        raise ConversionError(
            f"The model {model.name!r} takes images in [-1, 1] (rescale_inputs=False); a hub module takes [0, 1]."
        )


def _write(model: keras.Model, folder: pathlib.Path) -> None:
    import tensorflow as tf

    from converters.hub.hub_object import hub_object

    root, signatures = hub_object(model)
    tf.saved_model.save(root, str(folder), signatures=signatures)


def _write_on_tensorflow(model: keras.Model, folder: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        model.save(pathlib.Path(name) / "model.keras")
        run_on_tensorflow(__name__, "Exporting a hub module", pathlib.Path(name), {"path": str(folder.absolute())})


def _serve(folder: pathlib.Path, path: str) -> None:
    import mobilenets  # noqa: F401  registers its layers for loading
    from converters.keras_file import open_keras_file

    _write(open_keras_file(folder / "model.keras"), pathlib.Path(path))


if __name__ == "__main__":
    _serve(pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])["path"])
