"""Models that users make of the networks: heads of their own, preprocessing inside, files trained and saved again."""

import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import converters
import mobilenets
from converters.conversion import conversion_of
from converters.inspection.measures import model_facts
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

IMAGES = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype(np.float32)


def features_model():
    return mobilenets.MobileNetV1(0.25, (32, 32, 3), "feature_vector")


def nested():
    return keras.Sequential([features_model(), keras.layers.Dropout(0.2), keras.layers.Dense(5)])


def nested_functional():
    features = mobilenets.MobileNetV2(0.35, (32, 32, 3), "feature_vector")
    images = keras.Input((32, 32, 3))
    return keras.Model(images, keras.layers.Dense(3, activation="softmax")(features(images)))


def layer_by_layer():
    features = features_model()
    return keras.Model(features.input, keras.layers.Dense(4)(features.output))


@pytest.mark.parametrize("make", [nested, nested_functional, layer_by_layer])
def test_a_model_with_its_own_head_predicts_embeds_and_is_measured(make, tmp_path):
    model = make()
    model.save(tmp_path / "own.keras")
    opened = converters.open_image_model(tmp_path / "own.keras")
    classes = model.output_shape[-1]
    assert opened.num_classes() == classes
    logits = opened.logits()(IMAGES)
    expected = model(IMAGES, training=False).numpy()
    if make is nested_functional:
        logits = keras.ops.softmax(logits).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert opened.features()(IMAGES).shape == (4, opened.num_features())
    facts = model_facts(model)
    assert facts["parameters"] == sum(
        int(np.prod(weight.shape)) for weight in model.weights if weight.dtype != "uint32"
    )


def test_a_single_sigmoid_is_refused_in_plain_words(tmp_path):
    keras.Sequential([features_model(), keras.layers.Dense(1, activation="sigmoid")]).save(tmp_path / "one.keras")
    with pytest.raises(converters.ConversionError, match="at least two classes"):
        converters.open_image_model(tmp_path / "one.keras").num_classes()


def test_ranges_follow_from_the_rescaling_layers():
    assert mobilenets.image_range(nested()) == (0, 1)
    assert mobilenets.image_range(mobilenets.MobileNetV1(0.25, (32, 32, 3), rescale_inputs=False)) == (-1, 1)
    bytes_in = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 255), features_model()])
    assert mobilenets.image_range(bytes_in) == (0, 255)


def test_images_of_0_to_255_are_warned_about():
    infer = converters.inference_function(features_model(), fused=False)
    with pytest.warns(mobilenets.ImageRangeWarning, match="image_pipeline"):
        infer(255 * IMAGES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        infer(IMAGES)


@pytest.mark.parametrize("shape", [(70, 90, 3), (40, 33, 3)])
def test_the_pipeline_gives_slims_pixels_for_arrays_tensors_and_datasets(shape):
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    pipeline = mobilenets.image_pipeline(features_model())
    expected = mobilenets.preprocess(image, 32)
    np.testing.assert_array_equal(pipeline(image), expected)
    for same in (image.astype(np.float32), tf.constant(image)):
        np.testing.assert_allclose(pipeline(same), expected, atol=1e-6)
    dataset = tf.data.Dataset.from_tensors((image, 3)).batch(1).map(pipeline)
    ((images, labels),) = dataset.as_numpy_iterator()
    np.testing.assert_allclose(images[0], expected, atol=1e-6)
    assert labels == [3]


def test_the_training_pipeline_varies_images_within_their_range():
    image = np.random.default_rng(1).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    pipeline = mobilenets.image_pipeline("mobilenet_v2_035_96", training=True, seed=3)
    in_dataset = tf.data.Dataset.from_tensors(image[None]).map(pipeline).as_numpy_iterator().next()[0]
    for first, second in ((pipeline(image), pipeline(image)), (in_dataset, pipeline(tf.constant(image[None]))[0])):
        for result in (np.asarray(first), np.asarray(second)):
            assert result.shape == (96, 96, 3) and 0 <= result.min() < result.max() <= 1
        assert not np.array_equal(first, second)


def test_preprocessing_inside_the_model_is_saved_with_it_and_left_out_by_the_commands(tmp_path):
    network = mobilenets.MobileNetV1(0.25, (64, 64, 3), num_classes=7)
    served = mobilenets.include_preprocessing(network)
    before = served.get_weights()
    served(np.zeros((1, 50, 50, 3), np.uint8))
    assert all(np.array_equal(*pair) for pair in zip(before, served.get_weights(), strict=True))
    served.save(tmp_path / "served.keras")
    loaded = keras.saving.load_model(tmp_path / "served.keras")
    # A smooth picture: there both grids give nearly the same pixels.
    ramp = np.linspace(0, 255, 146)
    image = np.broadcast_to(ramp[:, None, None], (146, 146, 3)).astype(np.uint8)
    expected = network(mobilenets.preprocess(image, 64)[None]).numpy()
    np.testing.assert_allclose(loaded(image[None]).numpy(), expected, atol=0.05 * np.abs(expected).max())
    assert set(mobilenets.endpoints(loaded)) == set(mobilenets.endpoints(network))
    opened = converters.open_image_model(tmp_path / "served.keras")
    assert opened.image_size == (64, 64)
    prepared = mobilenets.preprocess(image, 64)[None]
    np.testing.assert_allclose(opened.logits()(prepared), expected, rtol=1e-3, atol=1e-4)


def test_a_file_trained_after_conversion_says_so_in_one_sentence(tmp_path):
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    path = tmp_path / "m.keras"
    converters.save_model(conversion_of(variables, input_shape=(32, 32, 3)), path, verify=False)
    model = converters.load_model(path)
    model.set_weights([weight + 1e-3 for weight in model.get_weights()])
    model.save(path)
    with pytest.raises(converters.ConversionError, match="trained or changed since it was converted") as caught:
        converters.load_model(path)
    assert "m.manifest.json" in str(caught.value) and "\n" not in str(caught.value)


def test_a_new_head_saved_over_a_converted_file_says_so_too(tmp_path):
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    path = tmp_path / "m.keras"
    converters.save_model(conversion_of(variables, input_shape=(32, 32, 3)), path, verify=False)
    model = converters.load_model(path)
    keras.Model(model.input, keras.layers.Dense(4)(model.output)).save(path)
    with pytest.raises(converters.ConversionError, match="trained or changed since it was converted") as caught:
        converters.load_model(path)
    assert "\n" not in str(caught.value)


def test_few_changed_weights_are_listed(tmp_path):
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    path = tmp_path / "m.keras"
    converters.save_model(conversion_of(variables, input_shape=(32, 32, 3)), path, verify=False)
    model = converters.load_model(path)
    logits = model.get_layer("MobilenetV1__Logits__Conv2d_1c_1x1")
    logits.bias.assign(logits.bias + 1)
    model.save(path)
    with pytest.raises(converters.ConversionError, match=r"1 different \(!\)\n! MobilenetV1/Logits/.*biases"):
        converters.load_model(path)


def test_momentum_of_a_nested_network_reaches_the_compiled_outer_model():
    features = features_model()
    outer = keras.Sequential([features, keras.layers.Dense(5)])
    outer.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    outer.train_on_batch(IMAGES, np.arange(4))
    mobilenets.set_batch_norm_momentum(features, 0.0)
    outer.train_on_batch(IMAGES, np.arange(4))
    norm = features.get_layer("MobilenetV1__Conv2d_0__BatchNorm")
    before = norm.moving_mean.numpy()
    outer.train_on_batch(1 - IMAGES, np.arange(4))
    # With momentum 0 the moving mean is the mean of the last batch, so it changes a lot from batch to batch.
    assert np.abs(norm.moving_mean.numpy() - before).max() > 0.02


def test_create_model_from_a_source_with_a_new_head(tmp_path):
    import checkpoints

    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    checkpoints.save_checkpoint(variables, tmp_path / "net.ckpt")
    with pytest.warns(converters.ConversionWarning):
        model = mobilenets.create_model(str(tmp_path / "net.ckpt"), num_classes=5, input_shape=(32, 32, 3))
    assert model.output_shape == (None, 5)
    stored = converters.slim_variables(model)["MobilenetV1/Conv2d_0/weights"]
    np.testing.assert_array_equal(stored, variables["MobilenetV1/Conv2d_0/weights"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "mobilenet_v2_036_96"}, "closest"),
        ({"name": "mobilenet_v2_035_96", "num_classes": 0}, "at least 1"),
        ({"name": "mobilenet_v2_035_96", "num_classes": 5, "head": "feature_vector"}, "num_classes is for"),
    ],
)
def test_create_model_refuses_wrong_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        mobilenets.create_model(**arguments)


def test_create_model_without_weights_and_with_preprocessing():
    model = mobilenets.create_model("mobilenet_v1_025_128", num_classes=3, pretrained=False, include_preprocessing=True)
    assert model(np.zeros((1, 50, 70, 3), np.uint8)).shape == (1, 3)


def test_patterns_and_version_and_short_texts():
    assert mobilenets.list_models("*v2*035_96") == ["mobilenet_v2_035_96"]
    assert mobilenets.list_models("nothing*") == []
    assert mobilenets.__version__
    info = mobilenets.get_model_info("mobilenet_v2_035_96")
    assert len(repr(info)) < 100 and "mobilenet_v2_035_96" in repr(info)
    assert "<table>" in info._repr_html_()
    report = converters.verify(features_model(), made_up_variables(variable_shapes("mobilenet_v1", 0.25)))
    assert repr(report).startswith("<Report FAILED") and len(repr(report).splitlines()) == 1
    assert "FAILED" in report._repr_html_()


def test_the_package_runs_as_a_module_and_does_not_import_the_converters():
    shown = subprocess.run(
        [sys.executable, "-m", "mobilenets", "--version"], capture_output=True, text=True, check=True
    )
    assert mobilenets.__version__ in shown.stdout
    code = "import mobilenets, sys; mobilenets.list_models('*96'); "
    code += "print({'keras', 'converters', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
