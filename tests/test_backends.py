"""The networks and the commands on the backend of this process; `make test-backends` runs it on JAX and on PyTorch.

In the environment of `make test` it runs on TensorFlow.
"""

import importlib
import json
import sys

import keras
import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import checkpoints
import converters
import mobilenets
from converters.cli import main
from converters.parity.comparison import FACTOR, FLOORS
from converters.structure import structure
from mobilenets.backend import is_installed
from tests import golden
from tests.networks import SCOPES, dtype_policy, golden_network, slim_weights

BACKEND = keras.backend.backend()
INFERENCE = [case for case in golden.CASES if not case.startswith("t_")]
TRAINING = [case for case in golden.CASES if case.startswith("t_")]
# The largest rounding of an endpoint, as a share of its largest value, of the float32 model on TensorFlow, measured
# against the float64 values on record. The weights of these cases are made up and round more than real ones.
ROUNDING = {
    "mobilenet_v2_035_96": 1.4e-5,
    "mobilenet_v2_100_224": 3.5e-5,
    "mobilenet_v2_140_224": 2.1e-5,
    "x_v2_0.2_96x96": 1.4e-5,
    "x_v2_0.6_96x96_nofine": 8.4e-5,
    "x_v2_0.9_97x129": 3.8e-5,
    "x_v2_os16": 1.4e-5,
}
SHAPES = mobilenets.variable_shapes("mobilenet_v1", 0.25)
PARAMETERS = sum(int(np.prod(shape)) for shape in SHAPES.values())


@pytest.mark.parametrize("case", INFERENCE)
def test_every_endpoint_in_float32(case):
    """By the rule of the proof: no further from slim in float64 than rounding explains."""
    meta, arrays = golden.load(case)
    model = golden_network(meta)
    everything = keras.Model(model.input, {**mobilenets.endpoints(model), "out": model.output})
    computed = converters.inference_function(everything, "keras")(golden.images(meta["height"], meta["width"]))
    largest = np.abs(arrays["out64"]).max()
    bound = max(FLOORS["float32"], FACTOR * np.abs(arrays["out32"] - arrays["out64"]).max() / largest)
    out = computed.pop("out")
    out = out if out.ndim == arrays["out64"].ndim else out.ravel()[:: golden.OUT_STEP]
    assert np.abs(out - arrays["out64"]).max() <= bound * largest
    scope = SCOPES[meta["family"]]
    recorded = {name.replace("AvgPool_1a", "global_pool"): facts for name, facts in meta["endpoints"].items()}
    assert set(computed) == {f"{scope}/{name}" for name in recorded}
    bound = max(bound, FACTOR * ROUNDING.get(case, 0.0))
    for name, facts in recorded.items():
        value = computed[f"{scope}/{name}"]
        assert value.dtype == np.float32
        assert list(value.shape) == facts["shape"], name
        assert np.abs(value.ravel()[facts["idx"]] - facts["val"]).max() <= bound * np.abs(value).max(), name


def train_once(model, images, constants):
    """Loss, gradients and new moving statistics of one step, by slim name, on any backend."""
    weights = slim_weights(model)
    by_id = {id(weight): name for name, weight in weights.items()}
    names = [by_id[id(weight)] for weight in model.trainable_variables]
    if BACKEND == "jax":
        import jax

        def loss_of(trainable, others):
            logits, updated = model.stateless_call(trainable, others, images, training=True)
            return (logits * constants).sum() / logits.shape[1], updated

        values = [
            [weight.value for weight in group] for group in (model.trainable_variables, model.non_trainable_variables)
        ]
        (loss, updated), gradients = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(*values)
        for weight, value in zip(model.non_trainable_variables, updated, strict=True):
            weight.assign(value)
    elif BACKEND == "torch":
        logits = model(images, training=True)
        loss = (logits * keras.ops.convert_to_tensor(constants)).sum() / logits.shape[1]
        loss.backward()
        gradients = [weight.value.grad for weight in model.trainable_variables]
        loss = loss.detach()
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_sum(logits * constants) / logits.shape[1]
        gradients = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
    moving = {name: keras.ops.convert_to_numpy(weight) for name, weight in weights.items() if not weight.trainable}
    arrays = dict(zip(names, map(keras.ops.convert_to_numpy, gradients), strict=True))
    return float(loss), arrays, moving


@pytest.mark.parametrize("bessel", [False, True])
@pytest.mark.parametrize("case", TRAINING)
def test_one_step_of_training(case, bessel):
    """Loss, gradients and moving statistics next to slim's in float64, whose moving variances are biased."""
    meta, _ = golden.load(case)
    model = golden_network(meta, batch_norm_momentum=1 - float(np.float32(1 - 0.99)), bessel_correction=bessel)
    images = golden.images(meta["height"], meta["width"])
    constants = golden.loss_weights(meta["num_classes"])
    loss, gradients, moving = train_once(model, images, constants)
    assert loss == pytest.approx(meta["loss"], abs=2e-3)
    assert set(gradients) == set(meta["grads"])
    norms = {name: facts["l2"] for name, facts in meta["grads"].items()}
    for name, norm in norms.items():
        # What a batch norm cancels has no gradient but for rounding.
        assert np.linalg.norm(gradients[name]) == pytest.approx(norm, rel=0.02, abs=1e-4 * max(norms.values())), name
    assert set(moving) == set(meta["moving"])
    for name, facts in meta["moving"].items():
        found = moving[name].ravel()[facts["idx"]]
        difference = np.abs(found - facts["val"]).max() / facts["l2"]
        if bessel and name.endswith("moving_variance"):
            assert np.all(found >= np.array(facts["val"]) * (1 - 2e-5)), name
        else:
            assert difference < 2e-5, name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, its model, and two photographs."""
    folder = tmp_path_factory.mktemp("backend")
    variables = {name: golden.weight(name, shape) for name, shape in SHAPES.items()}
    checkpoints.save_checkpoint(variables, folder / "mobilenet_v1_0.25_128.ckpt")
    for number in (3, 4):
        (folder / "classes" / f"{number:04d}").mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (150, 200, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(folder / "classes" / f"{number:04d}" / "a.jpg")
    (folder / "classes" / "0004" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    assert run("convert", folder / "mobilenet_v1_0.25_128.ckpt", "-o", folder / "model.keras")["weights"]
    return folder


def run(*arguments, status=0):
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == status, result.output
    output = json.loads(result.stdout) if status < 2 else result.output
    return output.get("verification", output) if isinstance(output, dict) else output


def test_weights_and_facts(folder):
    assert run("verify", folder / "model.keras", folder / "mobilenet_v1_0.25_128.ckpt")["passed"]
    assert run("info", folder / "model.keras")["parameters"] == PARAMETERS
    assert BACKEND in json.loads((folder / "model.manifest.json").read_text())["created_with"]


def test_images(folder):
    images = folder / "classes"
    answers = run("predict", folder / "model.keras", images, status=1)
    assert [len(answer.get("predictions", ())) for answer in answers] == [5, 5, 0]
    accuracy = run("evaluate", folder / "model.keras", images, status=1)
    assert (accuracy["images"], accuracy["broken"]) == (2, 1)
    assert accuracy["decoder"].startswith("TensorFlow" if is_installed("tensorflow") else "Pillow")
    embedded = run("embed", folder / "model.keras", images, "-o", folder / "x.npz", "--force", status=1)
    assert (embedded["images"], embedded["features"]) == (2, 256)


@pytest.mark.parametrize("runtime", ["keras", BACKEND])
def test_inference_function(folder, runtime):
    model = converters.load_model(folder / "model.keras")
    infer = converters.inference_function(model, runtime)
    images = golden.images(128, 128, 3)
    expected = keras.ops.convert_to_numpy(model(images, training=False))
    assert infer.runtime == runtime
    for count in (1, 3):
        np.testing.assert_allclose(infer(images[:count]), expected[:count], atol=1e-4 * np.abs(expected).max())


def test_another_backend_is_no_runtime(folder):
    other = "jax" if BACKEND != "jax" else "torch"
    with pytest.raises(ValueError, match=f"KERAS_BACKEND={other}"):
        converters.inference_function(converters.load_model(folder / "model.keras"), other)


@pytest.mark.skipif(is_installed("tensorflow"), reason="TensorFlow is installed")
@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "model.keras", "x", "--format", "savedmodel"),
        ("export", "model.keras", "x.tflite", "--format", "litert"),
        ("export", "model.keras", "x", "--format", "hub"),
        ("verify", "model.keras", "graph.pb"),
    ],
)
def test_what_needs_tensorflow_says_so(folder, arguments, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "graph.pb").write_bytes(b"\x0a\x00")
    output = run(*arguments, status=2)
    assert "needs TensorFlow, which is not installed: pip install 'mobilenets[tensorflow]'" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("format", ["safetensors", "keras-applications"])
def test_exports_of_every_backend(folder, format):
    suffix = {"safetensors": ".safetensors", "keras-applications": ".h5"}[format]
    exported = run("export", folder / "model.keras", folder / f"x{suffix}", "--format", format)
    assert exported["format"] == format


def test_no_import_of_tensorflow():
    if BACKEND == "tensorflow":
        pytest.skip("Keras runs on TensorFlow")
    assert is_installed("tensorflow") or "tensorflow" not in sys.modules
    assert importlib.import_module(f"converters.runtimes.on_{BACKEND}")


VARIABLES = {name: golden.weight(name, shape) for name, shape in SHAPES.items()}


@pytest.mark.filterwarnings("ignore::converters.ConversionWarning")
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"])
def test_dtype_policies(policy, tmp_path):
    """A model of any policy is converted, saved and verified; weights of 16 bits are rounded, with a note."""
    with dtype_policy(policy):
        conversion = converters.conversion_of(VARIABLES, input_shape=(32, 32))
    rounds = policy in ("float16", "bfloat16")
    assert any(f"rounded from float32 to {policy}" in note for note in conversion.notes) == rounds
    result = converters.save_model(conversion, tmp_path / "model.keras")["verification"]["weights"]["result"]
    assert result.endswith(f"of them rounded to {policy}") == rounds
    with pytest.raises(converters.ConversionError, match="convert its variables into a float32 model"):
        converters.export(conversion.model, tmp_path / "x.h5", "keras-applications")
    single = {name: array.astype("float32") for name, array in converters.slim_variables(conversion.model).items()}
    back = converters.slim_variables(converters.convert(single))
    for name, array in VARIABLES.items():
        tolerance = {"float16": 2e-3, "bfloat16": 1e-2}.get(policy, 0)
        np.testing.assert_allclose(back[name], array, rtol=tolerance, atol=1e-7 if rounds else 0)


@pytest.fixture
def restored_floatx():
    yield
    keras.config.set_floatx("float32")


# PyTorch takes minutes for 16 bits on a processor.
FITTED = [("float64", "float64"), ("mixed_bfloat16", "float32"), ("mixed_float16", "float32")]


@pytest.mark.parametrize(("policy", "floatx"), FITTED[: 1 if BACKEND == "torch" else 3])
def test_fit_under_a_policy(policy, floatx, restored_floatx):
    """With weight decay; the weights, and the loss, keep the type of the policy's variables."""
    keras.config.set_floatx(floatx)
    with dtype_policy(policy):
        model = mobilenets.MobileNetV1(0.25, (32, 32, 3), num_classes=2, weight_decay=1e-4)
    model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [np.array(weight) for weight in model.trainable_weights]
    images = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype(floatx)
    # Under mixed_float16 the first steps change nothing: Keras halves its factor until no gradient overflows.
    steps = 20 if policy == "mixed_float16" else 2
    losses = model.fit(images, np.array([0, 1, 0, 1]), epochs=steps, batch_size=4, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert {weight.dtype for weight in model.weights if "seed" not in weight.path} == {floatx}
    moved = [not np.array_equal(old, weight) for old, weight in zip(before, model.trainable_weights, strict=True)]
    assert sum(moved) > 0.9 * len(moved)


@pytest.mark.filterwarnings("ignore::converters.ConversionWarning")
def test_a_rounded_weight_must_be_the_nearest(tmp_path):
    with dtype_policy("float16"):
        model = converters.convert(VARIABLES, input_shape=(32, 32))
    assert converters.verify(model, VARIABLES).passed
    name = "MobilenetV1/Conv2d_0/weights"
    moved = VARIABLES[name].copy()
    moved.flat[0] *= 1.01
    assert not converters.verify(model, {**VARIABLES, name: moved}).passed


def test_float64_sources_need_a_float64_model():
    doubles = {name: array.astype(np.float64) for name, array in VARIABLES.items()}
    with pytest.raises(converters.ConversionError, match="float64 values that float32 weights cannot keep"):
        converters.convert(doubles)


@pytest.mark.parametrize(("dtype", "same"), [("float32", True), ("float16", False), ("int32", False)])
def test_a_cast_counts_where_it_changes_values(dtype, same):
    """Keras 3.5 adds casts to the dtype in which a layer computes anyway; any other is another structure."""
    model = mobilenets.MobileNetV1(0.25, (32, 32, 3))

    def call(layer, images, **options):
        return layer(keras.ops.cast(images, dtype) if layer.name.endswith("Conv2d_1_depthwise") else images, **options)

    other = keras.models.clone_model(model, call_function=call)
    assert len(other.get_config()["layers"]) > len(model.get_config()["layers"])
    assert (structure(other) == structure(model)) == same
