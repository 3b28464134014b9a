"""The fast path: the same outputs, traced once."""

import keras
import numpy as np
import pytest

import converters
import mobilenets
from tests.networks import CONSTRUCTORS, dtype_policy, set_weights, slim_weights
from tests.oracle import made_up_images, made_up_variables


def network(family: str, **choices) -> keras.Model:
    model = CONSTRUCTORS[family](0.25, (64, 64, 3), num_classes=11, **choices)
    set_weights(model, made_up_variables({name: tuple(weight.shape) for name, weight in slim_weights(model).items()}))
    return model


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("family", CONSTRUCTORS)
def test_outputs_for_any_number_of_images(family, fused):
    model = network(family)
    infer = converters.inference_function(model, fused=fused)
    for count in (1, 3, 2):
        images = made_up_images(64, 64, batch=count)
        expected, found = np.asarray(model(images)), infer(images)
        assert isinstance(found, np.ndarray) and found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_it_is_traced_once():
    calls = []

    class Counted(keras.layers.Layer):
        def call(self, x):
            calls.append(x.shape)
            return x

    images = keras.Input((8, 8, 3))
    infer = converters.inference_function(keras.Model(images, Counted()(images)), fused=False)
    calls.clear()
    for count in (1, 2, 3):
        assert infer(np.zeros((count, 8, 8, 3), np.float32)).shape == (count, 8, 8, 3)
    assert not calls


def test_it_keeps_its_weights_alive():
    model = network("mobilenet_v1")
    images = made_up_images(64, 64)
    expected = np.asarray(model(images))
    infer = converters.inference_function(model)
    del model
    np.testing.assert_allclose(infer(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_training_shows_in_the_unfused_function_only():
    model = network("mobilenet_v1")
    images = made_up_images(64, 64)
    fused, unfused = (converters.inference_function(model, fused=fused) for fused in (True, False))
    before = fused(images)
    bias = model.get_layer("MobilenetV1__Logits__Conv2d_1c_1x1").bias
    bias.assign(bias + 1)
    np.testing.assert_array_equal(fused(images), before)
    np.testing.assert_allclose(unfused(images), before + 1, rtol=0, atol=1e-5 * np.abs(before).max())


def test_several_outputs():
    model = network("mobilenet_v2")
    taps = keras.Model(model.input, mobilenets.endpoints(model))
    images = made_up_images(64, 64)
    found, expected = converters.inference_function(taps)(images), taps(images)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5 * np.abs(value).max(), err_msg=name)


def test_float64():
    with dtype_policy("float64"):
        model = network("mobilenet_v2")
    images = made_up_images(64, 64).astype(np.float64)
    expected = np.asarray(model(images))
    found = converters.inference_function(model)(images)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
