"""The networks compared with the original TF-Slim networks: every golden case, at every endpoint."""

import keras
import numpy as np
import pytest

import mobilenets
from tests import golden
from tests.networks import SCOPES, dtype_policy, golden_network


def outputs(meta: dict, model: keras.Model) -> dict[str, np.ndarray]:
    """Returns every endpoint under its name in the case."""
    everything = {**mobilenets.endpoints(model), "out": model.output}
    images = golden.images(meta["height"], meta["width"])
    computed = keras.Model(model.input, everything)(images, training=meta["train"])
    scope = SCOPES[meta["family"]]
    return {name.removeprefix(f"{scope}/"): keras.ops.convert_to_numpy(value) for name, value in computed.items()}


def as_recorded(out: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    """Returns the values that a case has of the output: all of them, or every so many of a feature map."""
    return out if out.ndim == recorded.ndim else out.ravel()[:: golden.OUT_STEP]


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float, largest: float, what: str) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * largest, err_msg=what)


@pytest.mark.parametrize("case", golden.CASES)
def test_float64_matches_slim_at_every_endpoint(case):
    meta, arrays = golden.load(case)
    with dtype_policy("float64"):
        model = golden_network(meta)
        computed = outputs(meta, model)

    # On maps of up to 7x7 slim's own pooling, AvgPool_1a, is the global one.
    recorded = {name.replace("AvgPool_1a", "global_pool"): facts for name, facts in meta["endpoints"].items()}
    assert set(computed) == {*recorded, "out"}
    for name, facts in recorded.items():
        value = computed[name]
        largest = np.abs(value).max()
        assert value.dtype == np.float64
        assert list(value.shape) == facts["shape"], name
        assert_close(value.ravel()[facts["idx"]], facts["val"], 1e-12, largest, name)
        assert_close(value.mean(), facts["mean"], 1e-12, largest, name)
        assert_close(value.std(), facts["std"], 1e-12, largest, name)
        assert_close(np.linalg.norm(value), facts["l2"], 1e-12, facts["l2"], name)

    out = computed["out"]
    largest = np.abs(out).max()
    out = as_recorded(out, arrays["out64"])
    assert out.shape == arrays["out64"].shape
    assert_close(out, arrays["out64"], 1e-12, largest, "out")
    if "features64" in arrays:
        features = computed["global_pool"].reshape(arrays["features64"].shape)
        assert_close(features, arrays["features64"], 1e-12, np.abs(features).max(), "features")

    if meta["train"]:
        loss = np.sum(out * golden.loss_weights(meta["num_classes"])) / meta["num_classes"]
        # The loss is a difference of large sums, so the error is relative to the sums.
        summed = np.sum(np.abs(out * golden.loss_weights(meta["num_classes"]))) / meta["num_classes"]
        assert_close(loss, meta["loss"], 1e-12, summed, "loss")
        # Keras rounds the L2 factor to float32 for weights of any type.
        rounding = float(np.float32(2e-5)) / 2e-5
        regularization = float(sum(model.losses))
        expected = meta["regularization_loss"] * rounding
        assert_close(regularization, expected, 1e-12, expected, "regularization loss")


@pytest.mark.parametrize("case", [case for case in golden.CASES if not case.startswith("t_")])
def test_float32_matches_slim(case):
    meta, arrays = golden.load(case)
    out = outputs(meta, golden_network(meta))["out"]
    largest = np.abs(out).max()
    assert out.dtype == np.float32
    out = as_recorded(out, arrays["out32"])
    # These made-up weights amplify rounding. In x_v2_os16 slim's own float32 differs from its float64 by more than
    # 2e-5, so the tolerance there is twice slim's own error.
    slim_error = np.abs(arrays["out32"] - arrays["out64"]).max() / largest
    assert_close(out, arrays["out32"], max(2e-5, 2 * slim_error), largest, "out")
