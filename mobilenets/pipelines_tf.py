"""`mobilenets.image_pipeline` on TensorFlow tensors. Imported only where TensorFlow is loaded already."""

from typing import Any

import tensorflow as tf

from mobilenets.preprocessing import ASPECT_RATIOS, CENTRAL_FRACTION, SMALLEST_AREA


def prepared(images: Any, size: tuple[int, int], training: bool) -> Any:
    """Returns one image or a batch, uint8 or float in [0, 255], as float32 in [0, 1] of a size."""
    if images.shape.rank not in (3, 4):
        raise ValueError(f"Images must be (height, width, 3) or a batch of these, not {images.shape}.")
    if not training:
        middle = _floats(tf.image.central_crop(images, CENTRAL_FRACTION))
        return _resized(middle, size) if images.shape.rank == 4 else _resized(middle[None], size)[0]
    if images.shape.rank == 4:
        one = tf.TensorSpec((*size, 3), tf.float32)
        return tf.map_fn(lambda image: _augmented(image, size), images, fn_output_signature=one)
    return _augmented(images, size)


def _floats(images: Any) -> Any:
    # After the crop, so that what is cut off is never floats.
    return tf.cast(images, tf.float32) * (1 / 255)


def _augmented(image: Any, size: tuple[int, int]) -> Any:
    begin, extent, _ = tf.image.sample_distorted_bounding_box(
        tf.shape(image),
        tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        min_object_covered=0.0,
        aspect_ratio_range=ASPECT_RATIOS,
        area_range=(SMALLEST_AREA, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    return tf.image.random_flip_left_right(_resized(_floats(tf.slice(image, begin, extent))[None], size)[0])


def _resized(images: Any, size: tuple[int, int]) -> Any:
    # slim's bilinear resize, whose grid begins at the corner; `tf.image.resize` has another grid.
    return tf.ensure_shape(tf.raw_ops.ResizeBilinear(images=images, size=size), (None, *size, 3))
