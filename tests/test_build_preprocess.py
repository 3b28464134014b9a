"""Preprocessing compared with TensorFlow's own operations, as in slim's evaluation."""

import numpy as np
import pytest
import tensorflow as tf

import mobilenets


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 10_000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def slim_preprocess(image: np.ndarray, size: int, central_fraction: float) -> np.ndarray:
    pixels = tf.image.convert_image_dtype(image, tf.float32)
    pixels = tf.image.central_crop(pixels, central_fraction)
    return tf.compat.v1.image.resize_bilinear(pixels[None], [size, size], align_corners=False)[0].numpy()


@pytest.mark.parametrize("central_fraction", [0.875, 0.5, 0.333, 1.0])
@pytest.mark.parametrize("size", [96, 160, 224, 299])
@pytest.mark.parametrize("shape", [(333, 500), (500, 333), (224, 224), (97, 1023), (31, 33), (1, 7)])
def test_matches_slim(shape, size, central_fraction):
    image = noise(*shape)
    actual = mobilenets.preprocess(image, size, central_fraction)
    assert actual.dtype == np.float32
    assert actual.shape == (size, size, 3)
    assert actual.min() >= 0
    assert actual.max() <= 1
    np.testing.assert_allclose(actual, slim_preprocess(image, size, central_fraction), rtol=0, atol=1e-6)


def test_the_crop_truncates_as_tensorflow_does():
    """A 333x500 image is cropped to 293x438, from row 20 and column 31 on."""
    image = noise(333, 500)
    cropped = image[20:313, 31:469]
    np.testing.assert_array_equal(mobilenets.preprocess(image, 224), mobilenets.preprocess(cropped, 224, 1.0))


@pytest.mark.parametrize("shape", [(333, 500), (31, 33)])
def test_height_and_width(shape):
    image = noise(*shape)
    pixels = mobilenets.preprocess(image, (96, 160))
    assert pixels.shape == (96, 160, 3)
    cropped = tf.image.central_crop(tf.image.convert_image_dtype(image, tf.float32), 0.875)
    expected = tf.compat.v1.image.resize_bilinear(cropped[None], [96, 160], align_corners=False)[0].numpy()
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "arguments", "named"),
    [
        (np.zeros((9, 9, 3), np.float32), {}, "float32"),
        (np.zeros((9, 9), np.uint8), {}, r"\(9, 9\)"),
        (np.zeros((9, 9, 4), np.uint8), {}, r"\(9, 9, 4\)"),
        (np.zeros((1, 9, 9, 3), np.uint8), {}, r"\(1, 9, 9, 3\)"),
        (np.zeros((0, 9, 3), np.uint8), {}, r"\(0, 9, 3\)"),
        (np.zeros((9, 9, 3), np.uint8), {"central_fraction": 0.0}, "central_fraction"),
        (np.zeros((9, 9, 3), np.uint8), {"central_fraction": 1.5}, "central_fraction"),
        (np.zeros((9, 9, 3), np.uint8), {"image_size": 0}, "image_size"),
        (np.zeros((9, 9, 3), np.uint8), {"image_size": (32, 0)}, "image_size"),
    ],
)
def test_bad_input(image, arguments, named):
    with pytest.raises(ValueError, match=named):
        mobilenets.preprocess(image, **{"image_size": 32, **arguments})
