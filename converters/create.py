"""From the name of a published model to a model with its weights, in one call."""

import pathlib
import tempfile
import warnings
from typing import Any

import keras

import mobilenets
from converters.conversion import conversion_of
from converters.errors import ConversionWarning
from converters.sources import find_source


def create_model(
    name: str,
    num_classes: int | None = None,
    *,
    head: str | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pretrained: bool = True,
    include_preprocessing: bool = False,
    verify: bool = True,
    **overrides: Any,
) -> keras.Model:
    """Creates a published model by its name: fetched, converted and verified.

    The checkpoint is fetched on first use and kept in the cache. The model is saved, loaded again and compared with the
    checkpoint (every variable bit for bit; the outputs too, where the archive has a graph), as ``mobilenets convert``
    does.

    Args:
        name: a published model, by its name, the name of its archive or a hub handle; or any source of `convert`.
        num_classes: classes of a new, untrained classification layer; by default the published layer is kept.
        head: "classification", "feature_vector" or "feature_map"; by default that of the source, "classification" for
            a published name.
        input_shape: ``(height, width, 3)``, sizes possibly None; by default the published size.
        pretrained: False gives random weights, without a download.
        include_preprocessing: whether the model takes uint8 images, or floats in [0, 255], of any size; see
            `mobilenets.include_preprocessing`.
        verify: whether the model is compared with the checkpoint.
        **overrides: further arguments of the family's constructor, such as ``dropout_rate``.

    Returns:
        A Keras model of stock layers. Its outputs are logits, with the default head.

    Raises:
        ValueError: no published model has this name, or an argument is out of range.
        checkpoints.DownloadError: the archive cannot be fetched.
        VerificationError: the model differs from the checkpoint.

    Example:
        >>> model = mobilenets.create_model("mobilenet_v2_035_96", num_classes=5, pretrained=False)
        >>> model.output_shape
        (None, 5)
    """
    if num_classes is not None:
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(f"num_classes must be a whole number of at least 1, not {num_classes!r}.")
        if head not in (None, "classification"):
            raise ValueError(f'num_classes is for head="classification", not for head={head!r}.')
        overrides["num_classes"] = num_classes
    if input_shape is not None:
        overrides["input_shape"] = input_shape
    model = _converted(name, head, verify, overrides) if pretrained else mobilenets.build(name, head, **overrides)
    return mobilenets.include_preprocessing(model) if include_preprocessing else model


def _converted(name: str, head: str | None, verify: bool, overrides: dict[str, Any]) -> keras.Model:
    if head is None and "num_classes" not in overrides:
        head = _head_of_handle(name)
    source = find_source(name)
    with source.unpacked():
        conversion = conversion_of(source, head=head, **overrides)
        if verify:
            _verify(conversion, str(name))
    for note in conversion.notes:
        warnings.warn(note, ConversionWarning, stacklevel=3)
    return conversion.model


def _head_of_handle(name: str) -> str | None:
    from mobilenets.published import parse_handle

    try:
        return parse_handle(name)[1]
    except ValueError:
        return None


def _verify(conversion, name: str) -> None:
    from converters.saved_file import verify_file

    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "model.keras"
        conversion.model.save(file)
        verify_file(conversion, file, name, partial=False)
