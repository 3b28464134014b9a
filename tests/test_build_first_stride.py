"""Networks with a first stride of 1, compared with slim at every endpoint."""

import math

import keras
import numpy as np
import pytest

import mobilenets
from tests.networks import CONSTRUCTORS, SCOPES, dtype_policy, set_weights, slim_weights
from tests.oracle import recipes
from tests.oracle.run import run, variable_shapes


@pytest.mark.parametrize(
    ("family", "output_stride"),
    [
        *(("mobilenet_v1", stride) for stride in (None, 8, 16)),
        *(("mobilenet_v2", stride) for stride in (None, 1, 2, 4, 8)),
        ("inception_v2", None),
    ],
)
def test_every_endpoint_equals_slim(family, output_stride):
    variables = recipes.made_up_variables(variable_shapes(family, 0.35, num_classes=10))
    images = recipes.made_up_images(33, 40)
    choices = {} if family == "inception_v2" else {"output_stride": output_stride}
    with dtype_policy("float64"):
        model = CONSTRUCTORS[family](0.35, (33, 40, 3), num_classes=10, first_stride=1, **choices)
        set_weights(model, variables)
        endpoints = mobilenets.endpoints(model)
        computed = keras.tree.map_structure(keras.ops.convert_to_numpy, keras.Model(model.input, endpoints)(images))
    expected = run(
        family,
        variables,
        images,
        depth_multiplier=0.35,
        num_classes=10,
        first_stride=1,
        output_stride=output_stride,
        dtype="float64",
    )
    after_the_map = set() if output_stride is None else {"global_pool", "Logits", "Predictions"}
    assert {name.removeprefix(f"{SCOPES[family]}/") for name in computed} == {*expected, *after_the_map}
    for name, value in expected.items():
        ours = computed[f"{SCOPES[family]}/{name}"]
        np.testing.assert_allclose(ours, value, rtol=0, atol=1e-12 * np.abs(value).max(), err_msg=name)


@pytest.mark.parametrize("family", list(CONSTRUCTORS))
def test_variables_are_the_same_and_maps_twice_as_large(family):
    plain, other = (CONSTRUCTORS[family](0.35, (32, 47, 3), "feature_map", first_stride=stride) for stride in (2, 1))
    shapes = [{name: tuple(weight.shape) for name, weight in slim_weights(model).items()} for model in (plain, other)]
    assert shapes[0] == shapes[1]
    assert plain.output.shape[1:3] == (1, 2)
    assert other.output.shape[1:3] == (2, math.ceil(47 / 16))


@pytest.mark.parametrize("family", list(CONSTRUCTORS))
def test_two_is_the_default(family):
    configs = [CONSTRUCTORS[family](0.25, (32, 32, 3), **choices).get_config() for choices in ({}, {"first_stride": 2})]
    strides = [[layer["config"].get("strides") for layer in config["layers"]] for config in configs]
    assert strides[0] == strides[1]
    assert next(stride for stride in strides[0] if stride) in (2, (2, 2))


def test_a_published_model_can_be_built_with_it():
    model = mobilenets.build("mobilenet_v1_025_128", "feature_map", first_stride=1)
    assert model.output.shape == (None, 8, 8, 256)
