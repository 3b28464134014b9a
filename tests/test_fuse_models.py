"""What `fuse` folds and what it keeps, in small models of all kinds."""

import keras
import numpy as np
import pytest
from keras import layers

import mobilenets

SHAPE = (9, 7, 5)


def randomised(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(3)
    for weight in model.weights:
        low = 0.5 if weight.name in ("gamma", "moving_variance") else -1.0
        if np.issubdtype(np.dtype(weight.dtype), np.floating):
            weight.assign(rng.uniform(low, 1.5, weight.shape))
    return model


def functional(*chain: keras.Layer) -> keras.Model:
    x = images = keras.Input(SHAPE)
    for layer in chain:
        x = layer(x)
    return randomised(keras.Model(images, x))


def count(model: keras.Model) -> int:
    """Counts the batch norms of a model and of the models in it."""
    return sum(
        count(layer) if isinstance(layer, keras.Model) else isinstance(layer, layers.BatchNormalization)
        for layer in model.layers
    )


def assert_fuses(model: keras.Model, left: int = 0) -> keras.Model:
    """Checks that `fuse` keeps this number of batch norms and the function, up to rounding."""
    fused = mobilenets.fuse(model)
    assert count(fused) == left
    images = np.random.default_rng(4).uniform(-1, 1, (2, *SHAPE)).astype(np.float32)
    actual, expected = (keras.tree.flatten(some(images, training=False)) for some in (fused, model))
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=1e-5 * np.abs(b).max())
    return fused


@pytest.mark.parametrize("norm", [{}, {"scale": False}, {"center": False}, {"scale": False, "center": False}])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize(
    "convolution",
    [
        lambda use_bias: layers.Conv2D(4, 3, strides=2, padding="same", use_bias=use_bias),
        lambda use_bias: layers.Conv2D(10, 3, groups=5, padding="same", use_bias=use_bias),
        lambda use_bias: layers.DepthwiseConv2D(3, dilation_rate=2, padding="same", use_bias=use_bias),
        lambda use_bias: layers.DepthwiseConv2D(3, depth_multiplier=3, padding="same", use_bias=use_bias),
        lambda use_bias: layers.SeparableConv2D(4, 3, depth_multiplier=2, padding="same", use_bias=use_bias),
    ],
)
def test_convolutions_and_batch_norms_of_all_kinds(convolution, use_bias, norm):
    batch_norm = layers.BatchNormalization(epsilon=0.01, **norm)
    assert_fuses(functional(convolution(use_bias), batch_norm, layers.ReLU(6.0)))


@pytest.mark.parametrize(
    ("chain", "left"),
    [
        ([layers.BatchNormalization()], 1),
        ([layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()], 1),
        ([layers.Conv2D(4, 3), layers.ReLU(), layers.BatchNormalization()], 1),
        ([layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(axis=1)], 1),
        ([layers.Conv2D(4, 3), layers.BatchNormalization(axis=3)], 0),
        ([layers.Conv2D(4, 3), layers.BatchNormalization(), layers.BatchNormalization()], 1),
        ([layers.Conv2DTranspose(4, 3), layers.BatchNormalization()], 1),
        ([layers.Flatten(), layers.Dense(4), layers.BatchNormalization()], 1),
        ([layers.Conv2D(4, 3)], 0),
    ],
)
def test_a_batch_norm_not_after_a_convolution_is_kept(chain, left):
    assert_fuses(functional(*(type(layer).from_config(layer.get_config()) for layer in chain)), left)


def test_a_convolution_with_another_reader_keeps_its_batch_norm():
    images = keras.Input(SHAPE)
    x = layers.Conv2D(5, 3, padding="same")(images)
    assert_fuses(randomised(keras.Model(images, layers.Add()([layers.BatchNormalization()(x), x]))), left=1)


def test_a_convolution_that_is_an_output_keeps_its_batch_norm():
    images = keras.Input(SHAPE)
    x = layers.Conv2D(5, 3)(images)
    assert_fuses(randomised(keras.Model(images, {"raw": x, "normal": layers.BatchNormalization()(x)})), left=1)


def test_shared_layers_keep_their_batch_norms():
    images = keras.Input(SHAPE)
    convolution, batch_norm = layers.Conv2D(5, 3, padding="same"), layers.BatchNormalization()
    twins = [batch_norm(convolution(x)) for x in (images, layers.ReLU()(images))]
    assert_fuses(randomised(keras.Model(images, layers.Add()(twins))), left=1)


def test_a_shared_convolution_keeps_the_batch_norms_of_each_call():
    images = keras.Input(SHAPE)
    convolution = layers.Conv2D(5, 3, padding="same")
    twins = [layers.BatchNormalization()(convolution(x)) for x in (images, layers.ReLU()(images))]
    assert_fuses(randomised(keras.Model(images, layers.Add()(twins))), left=2)


def test_a_batch_norm_may_be_an_output_and_have_several_readers():
    images = keras.Input(SHAPE)
    x = layers.BatchNormalization()(layers.Conv2D(5, 3, padding="same")(images))
    outputs = {"sum": layers.Add()([x, layers.ReLU()(x)]), "pair": [x, images]}
    fused = assert_fuses(randomised(keras.Model(images, outputs)))
    assert fused.output.keys() == outputs.keys()


def test_operations_between_layers_are_kept():
    images = keras.Input(SHAPE)
    x = layers.BatchNormalization()(layers.Conv2D(5, 3, padding="same")(keras.ops.abs(images) + images))
    assert_fuses(randomised(keras.Model(images, keras.ops.maximum(x, keras.ops.tanh(x)))))


def test_networks_inside_other_models():
    inner = functional(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU())
    images = keras.Input(SHAPE)
    assert_fuses(randomised(keras.Model(images, layers.Dense(3)(layers.Flatten()(inner(images))))))
    assert_fuses(randomised(keras.Sequential([keras.Input(SHAPE), inner, layers.Flatten(), layers.Dense(3)])))


def test_fusing_twice_equals_fusing_once():
    fused = assert_fuses(functional(layers.Conv2D(4, 3), layers.BatchNormalization()))
    again = assert_fuses(fused)
    assert all(np.array_equal(a, b) for a, b in zip(again.get_weights(), fused.get_weights(), strict=True))
    assert again is not fused


def test_trainable_flags_are_kept_and_the_fused_model_is_not_compiled():
    model = functional(layers.Conv2D(4, 3, trainable=False), layers.BatchNormalization(), layers.Conv2D(4, 3))
    model.compile("sgd", "mse")
    fused = mobilenets.fuse(model)
    assert [layer.trainable for layer in fused.layers if layer.weights] == [False, True]
    assert not fused.compiled


class Subclassed(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.dense = layers.Dense(units)

    def call(self, x):
        return self.dense(x)


@pytest.mark.parametrize("model", [Subclassed(3), layers.Dense(3)])
def test_a_model_without_a_graph_is_an_error(model):
    with pytest.raises(ValueError, match="can be fused"):
        mobilenets.fuse(model)
