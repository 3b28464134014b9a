"""All published models, converted from a slim checkpoint, against the slim graph at every endpoint."""

import functools

import keras
import numpy as np
import pytest

import checkpoints
import converters
import mobilenets
from mobilenets import SCOPES
from tests.networks import ONE_SIZE_OF_EACH, variant_of
from tests.oracle.recipes import made_up_images, made_up_variables
from tests.oracle.run import run, variable_shapes

TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


@functools.lru_cache(maxsize=2)
def variables_of(family, multiplier, variant):
    return made_up_variables(variable_shapes(family, multiplier, variant=variant))


def outputs_of(model, images, dtype):
    """Every endpoint of a model built and run under the dtype policy ``dtype``, by stock Keras alone."""
    taps = keras.Model(model.input, mobilenets.endpoints(model))
    return {
        name: keras.ops.convert_to_numpy(value) for name, value in taps(images.astype(dtype), training=False).items()
    }


@pytest.fixture
def dtype(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()


# float64 shows every difference. In float32 test_verify_seeds.py compares the other sizes with slim's graph.
CASES = [("float64", name) for name in mobilenets.list_models()] + [("float32", name) for name in ONE_SIZE_OF_EACH]


@pytest.mark.core
@pytest.mark.parametrize(("dtype", "name"), CASES, indirect=["dtype"])
def test_every_endpoint(name, dtype, tmp_path):
    info = mobilenets.get_model_info(name)
    scope = SCOPES[info.family]
    variant = variant_of(info)
    variables = variables_of(info.family, info.depth_multiplier, variant)
    images = made_up_images(info.image_size, info.image_size)
    slim = run(info.family, variables, images, depth_multiplier=info.depth_multiplier, dtype=dtype, variant=variant)
    expected = {f"{scope}/{endpoint}": array for endpoint, array in slim.items()}

    prefix = tmp_path / f"{name}.ckpt"
    checkpoints.save_checkpoint(variables, prefix)
    # A feature vector's network is the beginning of the other, at any size.
    both = dtype == "float64" and name in ONE_SIZE_OF_EACH
    for head in ("classification", "feature_vector") if both else ("classification",):
        model = converters.convert(prefix, head=head)
        outputs = outputs_of(model, images, dtype)
        logits = {f"{scope}/Logits", f"{scope}/Predictions"}
        assert set(outputs) == set(expected) - (logits if head == "feature_vector" else set())
        for endpoint, array in outputs.items():
            scale = np.abs(expected[endpoint]).max()
            assert np.abs(array - expected[endpoint]).max() <= TOLERANCES[dtype] * scale, endpoint
        if head == "classification":
            assert (outputs[f"{scope}/Logits"].argmax(1) == slim["Logits"].argmax(1)).all()
        back = converters.slim_variables(model)
        assert set(back) == {key for key in variables if head == "classification" or "/Logits/" not in key}
        assert all((array == variables[key]).all() for key, array in back.items())
