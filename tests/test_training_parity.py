"""One step of training compared with slim: logits, loss, every gradient, the L2 sum and the moving statistics after it.

In float64 slim's batch norm is unfused and takes in biased variances, as Keras's own layer does; in float32 it is fused
and takes in unbiased ones, as `mobilenets.BesselBatchNormalization` does.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import converters
import mobilenets
from tests import golden
from tests.networks import CONSTRUCTORS, dtype_policy, set_weights, slim_weights
from tests.oracle.recipes import loss_weights, made_up_images, made_up_variables
from tests.oracle.run import train_step, variable_shapes

FAMILIES = [
    ("mobilenet_v1", 0.25, 96),
    ("mobilenet_v2", 0.35, 96),
    ("mobilenet_v3", 0.35, 96),
    ("inception_v2", 0.5, 96),
]
TRAINING_CASES = [case for case in golden.CASES if case.startswith("t_")]
DECAY = 4e-5
# 0.99 as TF1's `assign_moving_average` has it: one minus a rate that is rounded to float32, in float64 too.
MOMENTUM = 1 - float(np.float32(1 - 0.99))


def one_step(family, variables, images, dtype, **options):
    """``(logits, loss, gradients, L2 sum, moving statistics)`` of a Keras model, by slim names."""
    with dtype_policy(dtype):
        model = CONSTRUCTORS[family](
            input_shape=images.shape[1:], weight_decay=DECAY, dropout_rate=0.0, batch_norm_momentum=MOMENTUM, **options
        )
    set_weights(model, variables)
    weights = slim_weights(model)
    trainable = {name: weight for name, weight in weights.items() if weight.trainable}
    constants = loss_weights(model.output_shape[1], len(images)).astype(dtype)
    with tf.GradientTape() as tape:
        logits = model(images.astype(dtype), training=True)
        loss = tf.reduce_sum(logits * constants) / logits.shape[1]
    gradients = tape.gradient(loss, [weight.value for weight in trainable.values()])
    return (
        logits.numpy(),
        float(loss),
        {name: gradient.numpy() for name, gradient in zip(trainable, gradients, strict=True)},
        float(sum(model.losses)),
        {name: weight.numpy() for name, weight in weights.items() if not weight.trainable},
    )


def relative(found, expected):
    return np.abs(found - expected).max() / max(np.abs(expected).max(), np.finfo(float).tiny)


# The gradient of what a batch norm cancels (a beta before the next one) is zero but for rounding.
NEGLIGIBLE = 1e-13


@pytest.mark.core
@pytest.mark.parametrize(("family", "multiplier", "size"), FAMILIES)
def test_float64_equals_live_slim(family, multiplier, size):
    variables = made_up_variables(variable_shapes(family, multiplier))
    images = made_up_images(size, size)
    slim = train_step(family, variables, images, depth_multiplier=multiplier, weight_decay=DECAY, dtype="float64")
    logits, loss, gradients, l2, moving = one_step(family, variables, images, "float64", depth_multiplier=multiplier)
    assert relative(logits, slim.logits) < 1e-11
    assert loss == pytest.approx(float(slim.loss), rel=1e-9)
    # Keras keeps the factor of an L2 term in float32.
    assert l2 == pytest.approx(float(slim.regularization_loss), rel=1e-7)
    assert set(gradients) == set(slim.gradients)
    for name, gradient in slim.gradients.items():
        close = relative(gradients[name], gradient) < 1e-9
        assert close or max(np.abs(gradient).max(), np.abs(gradients[name]).max()) < NEGLIGIBLE, name
    assert set(moving) == set(slim.moving)
    for name, statistic in slim.moving.items():
        assert relative(moving[name], statistic) < 1e-12, name


@pytest.mark.parametrize(("family", "multiplier", "size"), FAMILIES)
def test_bessel_correction_equals_live_slim(family, multiplier, size):
    """The option gives the moving variances of TF1's fused batch norm; without it they differ visibly."""
    variables = made_up_variables(variable_shapes(family, multiplier))
    images = made_up_images(size, size)
    slim = train_step(family, variables, images, depth_multiplier=multiplier, weight_decay=DECAY, dtype="float32")
    options = {"depth_multiplier": multiplier}
    *_, corrected = one_step(family, variables, images, "float32", bessel_correction=True, **options)
    *_, stock = one_step(family, variables, images, "float32", **options)
    for name, statistic in slim.moving.items():
        assert relative(corrected[name], statistic) < 2e-5, name
    variances = [name for name in slim.moving if name.endswith("moving_variance")]
    assert max(relative(stock[name], slim.moving[name]) for name in variances) > 1e-4


@pytest.mark.parametrize("case", TRAINING_CASES)
def test_golden_training_cases(case):
    """Gradients and moving statistics as recorded from the original networks."""
    meta, _ = golden.load(case)
    variables, images = golden.variables(meta), golden.images(meta["height"], meta["width"])
    multiplier = {"depth_multiplier": meta["depth_multiplier"], **meta["kwargs"]}
    _, loss, gradients, l2, moving = one_step(meta["family"], variables, images, "float64", **multiplier)
    assert loss == pytest.approx(meta["loss"], rel=1e-9)
    assert l2 == pytest.approx(meta["regularization_loss"], rel=1e-7)
    for found, recorded in ((gradients, meta["grads"]), (moving, meta["moving"])):
        assert set(found) == set(recorded)
        for name, facts in recorded.items():
            scale = max(facts["l2"], NEGLIGIBLE)
            assert np.abs(found[name].ravel()[facts["idx"]] - facts["val"]).max() < 1e-9 * scale + NEGLIGIBLE, name
            assert np.linalg.norm(found[name]) == pytest.approx(facts["l2"], rel=1e-9, abs=NEGLIGIBLE), name
    *_, fused = one_step(meta["family"], variables, images, "float32", bessel_correction=True, **multiplier)
    for name, facts in meta["moving_fused_float32"].items():
        error = np.abs(fused[name].ravel()[facts["idx"]] - facts["val"]).max()
        assert error < 2e-5 * np.abs(fused[name]).max(), name


@pytest.mark.parametrize("count", [1, 2, 7])
def test_bessel_correction_by_hand(count):
    values = np.random.default_rng(0).normal(size=(count, 1, 1, 3)).astype("float32")
    layer = mobilenets.BesselBatchNormalization(momentum=0.75)
    stock = keras.layers.BatchNormalization(momentum=0.75)
    assert np.array_equal(layer(values, training=True), stock(values, training=True))
    expected = 0.75 + 0.25 * values.var(axis=(0, 1, 2), ddof=1 if count > 1 else 0)
    np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, stock.moving_mean, rtol=1e-6)


def test_frozen_batch_norm_does_not_move():
    layer = mobilenets.BesselBatchNormalization()
    layer.build((None, 2, 2, 3))
    layer.trainable = False
    layer(np.ones((4, 2, 2, 3), "float32"), training=True)
    assert layer.moving_variance.numpy().tolist() == [1, 1, 1]


def test_bessel_model_and_stock_model_change_into_each_other(tmp_path):
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    model = converters.convert(variables, input_shape=(64, 64, 3), bessel_correction=True)
    assert any(isinstance(layer, mobilenets.BesselBatchNormalization) for layer in model.layers)
    stock = mobilenets.with_batch_norm(model, keras.layers.BatchNormalization)
    assert {type(layer).__module__.split(".")[0] for layer in stock.layers} == {"keras"}
    again = mobilenets.with_batch_norm(stock, mobilenets.BesselBatchNormalization, momentum=0.9)
    images = made_up_images(64, 64)
    for other in (stock, again):
        assert np.array_equal(other(images), model(images))
        assert set(mobilenets.endpoints(other)) == set(mobilenets.endpoints(model))
    assert again.get_layer("MobilenetV1__Conv2d_0__BatchNorm").momentum == 0.9
    model.save(tmp_path / "bessel.keras")
    loaded = keras.saving.load_model(tmp_path / "bessel.keras")
    assert np.array_equal(loaded(images), model(images))


def test_momentum_is_changed_on_a_compiled_and_loaded_model(tmp_path):
    """The helper takes effect in `fit`, also after a first `fit` compiled the step."""
    made = mobilenets.MobileNetV1(0.25, (32, 32, 3), num_classes=3, batch_norm_momentum=0.99)
    made.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = np.ones((4, 32, 32, 3), "float32"), np.zeros(4)
    moving = model.get_layer("MobilenetV1__Conv2d_0__BatchNorm").moving_mean
    model.fit(images, labels, verbose=0)
    mobilenets.set_batch_norm_momentum(model, 0.0)
    before = moving.numpy()
    batch_mean = (
        keras.Model(model.input, model.get_layer("MobilenetV1__Conv2d_0").output)(images).numpy().mean((0, 1, 2))
    )
    model.fit(images, labels, verbose=0)
    assert np.abs(before - batch_mean).max() > 1e-3
    np.testing.assert_allclose(moving, batch_mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("momentum", [1.0, -0.5, float("nan"), "high"])
def test_momentum_out_of_range(momentum):
    model = mobilenets.MobileNetV1(0.25, (32, 32, 3))
    with pytest.raises(ValueError, match=r"batch_norm_momentum must lie in \[0, 1\)"):
        mobilenets.set_batch_norm_momentum(model, momentum)
    with pytest.raises(ValueError, match=r"batch_norm_momentum must lie in \[0, 1\)"):
        mobilenets.with_batch_norm(model, keras.layers.BatchNormalization, momentum=momentum)
