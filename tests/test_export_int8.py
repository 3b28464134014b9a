"""int8 files: calibrated in the range of the whole model, with integers in and out where asked for."""

import keras
import numpy as np
import pytest

import converters
from converters.exporting.formats import find_format
from mobilenets import image_range
from tests.networks import CONSTRUCTORS
from tests.test_export_inference import network

IMAGES = np.random.default_rng(0).random((6, 64, 64, 3), np.float32)


@pytest.mark.parametrize("family", CONSTRUCTORS)
def test_the_range_of_the_whole_model(family):
    def features(**choices):
        return CONSTRUCTORS[family](0.25, input_shape=(64, 48, 3), head="feature_vector", **choices)

    for own, expected in ((True, (0, 1)), (False, (-1, 1))):
        inner = features(rescale_inputs=own)
        assert image_range(inner) == expected
        nested = keras.Sequential([keras.Input((64, 48, 3)), inner, keras.layers.Dense(5)])
        assert image_range(nested) == expected
        image = keras.Input((64, 48, 3))
        flipped = keras.layers.RandomFlip()(image)
        scaled = keras.layers.Rescaling(1 / 255)(flipped) if own else keras.layers.Rescaling(1 / 127.5, -1)(flipped)
        assert image_range(keras.Model(image, keras.layers.Dense(5)(inner(scaled)))) == (0, 255)


def test_full_integer_with_a_fixed_batch(tmp_path):

    inner = network("mobilenet_v1")
    model = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Rescaling(1 / 255), inner])
    path = tmp_path / "bytes.tflite"
    export = converters.export(
        model, path, "litert", fused=False, images=IMAGES, quantization="int8", input_type="uint8", batch=1
    )
    assert export.input_range == (0, 255) and export.top1_agreement is not None
    assert "1x64x64x3 (uint8; RGB, channels last) in [0, 255]" in str(export)
    assert f'and gives logits "{export.output_name}" 1x11 (uint8, by its scale and zero point)' in str(export)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert list(source["shape_signature"]) == [1, 64, 64, 3]
    assert source["dtype"] == result["dtype"] == np.uint8
    scale, zero = source["quantization"]
    assert scale == pytest.approx(1, rel=0.02) and zero == 0
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], np.round(IMAGES[:1] * 255).astype(np.uint8))
    interpreter.invoke()
    scale, zero = result["quantization"]
    found = (interpreter.get_tensor(result["index"]).astype(float) - zero) * scale
    expected = np.asarray(model(255 * IMAGES[:1]))
    assert np.abs(found - expected).max() <= export.tolerance * np.abs(expected).max()


@pytest.mark.parametrize("choices", [{"input_type": "uint8"}, {"batch": 1}])
def test_only_int8_has_integer_ends_and_a_fixed_batch(choices):
    with pytest.raises(ValueError, match="Only int8"):
        find_format("litert", None, **choices)
    with pytest.raises(ValueError, match="input_type must be"):
        find_format("litert", "int8", input_type="int16")
