"""Fused models compared with the original ones at every endpoint of all published networks."""

import keras
import numpy as np
import pytest

import converters
import mobilenets
from tests.networks import ANY_SIZE, CONSTRUCTORS, ONE_SIZE_OF_EACH, dtype_policy, set_weights, slim_weights
from tests.oracle import made_up_images, made_up_variables

TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


def with_weights(model: keras.Model) -> keras.Model:
    """Returns the model with made-up weights and batch norm statistics."""
    set_weights(model, made_up_variables({name: tuple(weight.shape) for name, weight in slim_weights(model).items()}))
    return model


def outputs_of(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    taps = keras.Model(model.input, mobilenets.endpoints(model))
    return {name: keras.ops.convert_to_numpy(value) for name, value in taps(images, training=False).items()}


def images_for(model: keras.Model) -> np.ndarray:
    height, width = (size or 64 for size in model.input_shape[1:3])
    return made_up_images(height, width, batch=1).astype(model.inputs[0].dtype)


def assert_same_function(fused: keras.Model, model: keras.Model, tolerance: float) -> None:
    images = images_for(model)
    actual, expected = outputs_of(fused, images), outputs_of(model, images)
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert (actual[name].dtype, actual[name].shape) == (value.dtype, value.shape), name
        difference = np.abs(actual[name].astype(np.float64) - value.astype(np.float64)).max()
        assert difference <= tolerance * np.abs(value).max(), name


def batch_norms(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


# float64 shows every difference; in float32 a network of each family.
CASES = [("float64", name) for name in ONE_SIZE_OF_EACH]
CASES += [("float32", next(name for name in ONE_SIZE_OF_EACH if name.startswith(family))) for family in CONSTRUCTORS]


@pytest.mark.parametrize(("dtype", "name"), CASES)
def test_every_endpoint_of_every_published_network(name, dtype):
    with dtype_policy(dtype):
        model = with_weights(mobilenets.build(name))
    variables = {key: keras.ops.convert_to_numpy(weight) for key, weight in slim_weights(model).items()}
    norms = batch_norms(model)
    fused = mobilenets.fuse(model)

    assert norms and not batch_norms(fused)
    assert [layer.name for layer in fused.layers] == [layer.name for layer in model.layers if layer.name not in norms]
    assert (fused.name, fused.input_shape, fused.output_shape) == (model.name, model.input_shape, model.output_shape)
    assert fused.input.name == model.input.name
    assert_same_function(fused, model, TOLERANCES[dtype])
    for key, weight in slim_weights(model).items():
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), variables[key], err_msg=key)
    keras.backend.clear_session()


@pytest.mark.parametrize("head", ["classification", "feature_vector", "feature_map"])
@pytest.mark.parametrize("family", CONSTRUCTORS)
def test_heads_are_kept(family, head):
    model = with_weights(CONSTRUCTORS[family](0.25, (64, 64, 3), head=head, num_classes=7))
    fused = mobilenets.fuse(model)
    assert fused.output_shape == model.output_shape
    assert_same_function(fused, model, 1e-5)


@pytest.mark.parametrize(
    ("family", "choices"),
    [
        ("mobilenet_v1", {"output_stride": 8}),
        ("mobilenet_v1", {"output_stride": 16}),
        ("mobilenet_v2", {"output_stride": 4}),
        ("mobilenet_v2", {"output_stride": 8}),
        ("mobilenet_v2", {"output_stride": 16}),
        ("mobilenet_v2", {"scale_last_layer": True}),
        ("mobilenet_v3", {"variant": "small"}),
        ("mobilenet_v3", {"minimalistic": True, "output_stride": 8}),
        *((family, {"rescale_inputs": False}) for family in CONSTRUCTORS),
        *((family, {"weight_decay": None, "dropout_rate": 0.0}) for family in CONSTRUCTORS),
    ],
)
def test_arguments_of_the_constructors_are_kept(family, choices):
    model = with_weights(
        CONSTRUCTORS[family](0.25, (65, 65, 3) if family == "mobilenet_v3" else (65, 49, 3), **choices)
    )
    fused = mobilenets.fuse(model)
    kept = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Rescaling)]
    assert [layer.name for layer in fused.layers if isinstance(layer, keras.layers.Rescaling)] == kept
    assert_same_function(fused, model, 1e-5)


@pytest.mark.parametrize("size", [(64, 64), (97, 51)])
@pytest.mark.parametrize("family", ANY_SIZE)
def test_images_of_any_size(family, size):
    model = with_weights(CONSTRUCTORS[family](0.25, (None, None, 3)))
    fused = mobilenets.fuse(model)
    images = made_up_images(*size)
    expected = np.asarray(model(images))
    assert np.abs(np.asarray(fused(images)) - expected).max() <= 1e-5 * np.abs(expected).max()


# Half precision rounds after the convolution and again after the batch norm; the fused model rounds once.
@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_float16", 2e-2), ("mixed_bfloat16", 2e-1), ("bfloat16", 2e-1)]
)
@pytest.mark.parametrize("family", CONSTRUCTORS)
def test_dtype_policies_are_kept(family, policy, tolerance):
    with dtype_policy(policy):
        model = with_weights(CONSTRUCTORS[family](0.25, (64, 64, 3)))
    fused = mobilenets.fuse(model)
    originals = {layer.name: layer for layer in model.layers}
    assert fused.input.dtype == model.input.dtype
    for layer in fused.layers[1:]:
        original = originals[layer.name]
        assert layer.dtype_policy.name == original.dtype_policy.name, layer.name
        assert {weight.dtype for weight in layer.weights} == {weight.dtype for weight in original.weights}, layer.name
    assert_same_function(fused, model, tolerance)


@pytest.mark.parametrize("family", CONSTRUCTORS)
def test_saved_and_loaded(family, tmp_path):
    model = with_weights(CONSTRUCTORS[family](0.25, (64, 64, 3)))
    model.save(tmp_path / "model.keras")
    fused = mobilenets.fuse(keras.saving.load_model(tmp_path / "model.keras"))
    assert_same_function(fused, model, 1e-5)

    fused.save(tmp_path / "fused.keras")
    loaded = keras.saving.load_model(tmp_path / "fused.keras")
    assert_same_function(loaded, fused, 0.0)
    assert not batch_norms(loaded)


@pytest.mark.parametrize("family", CONSTRUCTORS)
def test_weights_are_folded_in_float64_and_rounded_once(family):
    """Every weight of a fused float32 model equals that of the fused float64 model, rounded."""
    with dtype_policy("float64"):
        exact = with_weights(CONSTRUCTORS[family](0.25, (64, 64, 3)))
    model = with_weights(CONSTRUCTORS[family](0.25, (64, 64, 3)))
    expected = converters.slim_variables(mobilenets.fuse(exact))
    for name, array in converters.slim_variables(mobilenets.fuse(model)).items():
        np.testing.assert_array_equal(array, expected[name].astype(np.float32), err_msg=name)


@pytest.mark.parametrize("family", CONSTRUCTORS)
def test_slim_names_of_a_fused_model(family):
    """A fused network has slim names, with biases in place of batch norms."""
    model = with_weights(CONSTRUCTORS[family](0.25, (64, 64, 3)))
    named = converters.slim_variables(mobilenets.fuse(model))
    expected = {name for name in converters.slim_variables(model) if "/BatchNorm/" not in name}
    expected |= {
        name.replace("/BatchNorm/beta", "/biases") for name in converters.slim_variables(model) if "beta" in name
    }
    assert set(named) == expected
    with pytest.raises(converters.ConversionError, match="biases"):
        converters.assign(mobilenets.fuse(model), converters.slim_variables(model))
