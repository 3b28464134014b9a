"""What only MobileNet V3 has: variants, gates, and the pool before its last convolution."""

import keras
import numpy as np
import pytest

import mobilenets
from converters.graphs.endpoints import endpoint_ops
from converters.inspection.measures import model_facts
from tests.networks import set_weights
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import run, variable_shapes


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match="variant must be one of large, small, not 'medium'"):
        mobilenets.MobileNetV3(variant="medium")


@pytest.mark.parametrize("shape", [(64, 96, 3), (192, 224, 3), (None, 128, 3), (128, None, 3)])
def test_a_map_too_small_for_the_pool_is_an_error(shape):
    with pytest.raises(ValueError, match=r"last map of .* window of 7x7"):
        mobilenets.MobileNetV3(0.35, shape, variant="small")
    assert mobilenets.MobileNetV3(0.35, shape, "feature_map", variant="small").output.shape[-1] == 200


@pytest.mark.parametrize(("height", "width"), [(32, 32), (193, 257), (256, 256)])
def test_pool_and_head_equal_slim(height, width):
    """Larger maps than 7x7 that are not square leave several positions for the last convolution."""
    variables = made_up_variables(variable_shapes("mobilenet_v3", 0.35, variant="small", num_classes=3))
    images = np.random.default_rng(0).uniform(size=(1, height, width, 3)).astype("float32")
    expected = run(
        "mobilenet_v3", variables, images, depth_multiplier=0.35, variant="small", num_classes=3, dtype="float64"
    )
    keras.config.set_dtype_policy("float64")
    try:
        model = mobilenets.MobileNetV3(0.35, (height, width, 3), num_classes=3, variant="small")
        set_weights(model, variables)
        taps = keras.Model(model.input, mobilenets.endpoints(model))(images.astype("float64"))
    finally:
        keras.config.set_dtype_policy("float32")
    for endpoint in ("layer_13", "layer_14", "layer_15", "global_pool", "Logits"):
        found = keras.ops.convert_to_numpy(taps[f"MobilenetV3/{endpoint}"])
        assert found.shape == expected[endpoint].shape
        assert np.abs(found - expected[endpoint]).max() <= 1e-12 * np.abs(expected[endpoint]).max()


@pytest.mark.parametrize("variant", ["large", "small"])
@pytest.mark.parametrize("activation", ["hard_swish/mul_1", "Relu"])
def test_endpoints_of_a_graph_count_from_the_last_block(variant, activation):
    blocks = {"large": 15, "small": 11}[variant]
    names = [f"MobilenetV3/{scope}/{activation}" for scope in ("Conv", "Conv_1", "Conv_2")]
    names += [f"MobilenetV3/expanded_conv_{index}/output" for index in range(1, blocks)]
    names += ["MobilenetV3/AvgPool2D/AvgPool"]
    found = endpoint_ops(names)
    assert found["MobilenetV3/layer_1"] == names[0]
    assert found[f"MobilenetV3/layer_{blocks + 2}"] == names[1]
    assert found[f"MobilenetV3/layer_{blocks + 3}"] == names[-1]
    assert found[f"MobilenetV3/layer_{blocks + 4}"] == names[2]


@pytest.mark.parametrize(
    ("variant", "minimalistic", "kernels"),
    [
        ("small", True, [3] * 12),
        ("small", False, [3, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5]),
    ],
)
def test_receptive_field_by_the_formula(variant, minimalistic, kernels):
    """1 + the sum over all kernels of (size - 1) * the stride of their input; gates are left out."""
    strides = [2, 2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1]
    expected = 1 + sum((size - 1) * int(np.prod(strides[:index])) for index, size in enumerate(kernels))
    model = mobilenets.MobileNetV3(0.35, (224, 224, 3), variant=variant, minimalistic=minimalistic)
    facts = model_facts(model)
    assert facts["receptive_field"] == [expected, expected]
    assert facts["feature_map"] == [7, 7, 200]
