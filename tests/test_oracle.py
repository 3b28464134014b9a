"""The oracle itself, compared with what the original networks computed (the golden files) and its own names."""

import csv
import json
import pathlib

import numpy as np
import pytest

pytest.importorskip("tf_slim")

from tests import oracle

CASES = (
    "mobilenet_v2_035_96",
    "mobilenet_v2_100_224",
    "mobilenet_v2_140_224",
    "mobilenet_v1_025_128",
    "mobilenet_v1_075_224",
    "inception_v2_224",
    "x_v2_0.2_96x96",
    "x_v2_0.6_96x96_nofine",
    "x_v2_0.9_97x129",
    "x_v1_0.33_129x97",
    "x_iv2_1.0_192x160",
    "x_iv2_0.5_224x224",
    "x_v2_os16",
    "x_v1_os8",
)
TRAINING_CASES = ("t_v2_035_96", "t_iv2_224")
COPIES = pathlib.Path(__file__).with_name("golden")


def golden(name: str) -> tuple[dict, dict[str, np.ndarray]]:
    """A case's description and arrays, from the copies in the repository or from the folder next to the checkout."""
    shared = pathlib.Path(__file__).resolve().parents[2] / "shared" / "golden"
    for folder in (COPIES, shared):
        if (folder / f"{name}.npz").is_file():
            with np.load(folder / f"{name}.npz") as data:
                arrays = {key: data[key] for key in data.files if key != "meta"}
                return json.loads(str(data["meta"])), arrays
    pytest.skip(f"the golden case {name} is not here")


def configuration(meta: dict) -> dict:
    """The case's keyword arguments of `oracle.run`. (Global pooling is all the oracle does.)"""
    kwargs = {key: value for key, value in meta["kwargs"].items() if key != "global_pool"}
    num_classes = None if "output_stride" in kwargs else meta["num_classes"]
    return {"depth_multiplier": meta["depth_multiplier"], "num_classes": num_classes, **kwargs}


def hub_name(endpoint: str) -> str:
    """On a 7x7 map, slim's default 7x7 pool is the global one under another name."""
    return "global_pool" if endpoint == "AvgPool_1a" else endpoint


def assert_matches_summary(array: np.ndarray, summary: dict, tolerance: float, what: str) -> None:
    """Shape, moments and sampled values of an array, relative to its largest absolute value."""
    assert list(array.shape) == summary["shape"], what
    bound = tolerance * np.abs(array).max()
    values = array.ravel()[summary["idx"]]
    np.testing.assert_allclose(values, summary["val"], rtol=0, atol=bound, err_msg=what)
    np.testing.assert_allclose(array.mean(), summary["mean"], rtol=0, atol=bound, err_msg=what)
    np.testing.assert_allclose(array.std(), summary["std"], rtol=0, atol=bound, err_msg=what)
    np.testing.assert_allclose(np.linalg.norm(array), summary["l2"], rtol=tolerance, err_msg=what)


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max(), err_msg=what)


@pytest.mark.parametrize("name", CASES)
def test_inference_matches_golden(name):
    meta, arrays = golden(name)
    shapes = oracle.variable_shapes(meta["family"], **configuration(meta))
    assert {key: list(shape) for key, shape in shapes.items()} == meta["variables"]

    variables = oracle.golden_variables(shapes)
    images = oracle.made_up_images(meta["height"], meta["width"])
    run64 = oracle.run(meta["family"], variables, images, dtype="float64", **configuration(meta))
    run32 = oracle.run(meta["family"], variables, images, **configuration(meta))
    assert set(run64) == set(run32) == {hub_name(endpoint) for endpoint in meta["endpoints"]}
    for endpoint, summary in meta["endpoints"].items():
        assert_matches_summary(run64[hub_name(endpoint)], summary, 1e-12, endpoint)

    if "Logits" in run64:
        assert_close(run64["Logits"], arrays["out64"], 1e-12, "logits, float64")
        assert_close(run32["Logits"], arrays["out32"], 2e-5, "logits, float32")
        assert_close(np.squeeze(run64["global_pool"], (1, 2)), arrays["features64"], 1e-12, "features, float64")


@pytest.mark.parametrize("name", TRAINING_CASES)
def test_training_step_matches_golden(name):
    meta, arrays = golden(name)
    variables = oracle.golden_variables(meta["variables"])
    images = oracle.made_up_images(meta["height"], meta["width"])
    step = oracle.train_step(meta["family"], variables, images, dtype="float64", **configuration(meta))

    for endpoint, summary in meta["endpoints"].items():
        assert_matches_summary(step.endpoints[hub_name(endpoint)], summary, 1e-12, endpoint)
    assert_close(step.logits, arrays["out64"], 1e-12, "logits")
    assert step.loss == pytest.approx(meta["loss"], rel=1e-12)
    assert step.regularization_loss == pytest.approx(meta["regularization_loss"], rel=1e-12)
    assert set(step.gradients) == set(meta["grads"])
    for variable, summary in meta["grads"].items():
        if variable.endswith("project/BatchNorm/beta"):
            # Every reader of a projection normalises it again, so this gradient is nothing but rounding.
            assert max(np.abs(step.gradients[variable]).max(), *np.abs(summary["val"])) < 1e-14, variable
        else:
            assert_matches_summary(step.gradients[variable], summary, 1e-12, variable)
    assert set(step.moving) == set(meta["moving"])
    for variable, summary in meta["moving"].items():
        assert_matches_summary(step.moving[variable], summary, 1e-12, variable)


@pytest.mark.parametrize("name", TRAINING_CASES)
def test_fused_training_step_updates_moving_statistics_as_golden(name):
    meta, _ = golden(name)
    variables = oracle.golden_variables(meta["variables"])
    images = oracle.made_up_images(meta["height"], meta["width"])
    step = oracle.train_step(meta["family"], variables, images, **configuration(meta))

    assert set(step.moving) == set(meta["moving_fused_float32"])
    for variable, summary in meta["moving_fused_float32"].items():
        assert_matches_summary(step.moving[variable], summary, 2e-5, variable)


RECORDS = {
    "mobilenet_v1": ("mobilenet_v1", "large", 64),
    "mobilenet_v2": ("mobilenet_v2", "large", 64),
    "inception_v2": ("inception_v2", "large", 64),
    "mobilenet_v3_large": ("mobilenet_v3", "large", 224),
    "mobilenet_v3_large_minimalistic": ("mobilenet_v3", "large_minimalistic", 224),
    "mobilenet_v3_small": ("mobilenet_v3", "small", 224),
}


@pytest.mark.parametrize("record", RECORDS)
def test_names_shapes_and_endpoints_are_those_on_record(record, shared):
    """Every published multiplier: variables in slim's order, and the endpoints."""
    family, variant, size = RECORDS[record]
    folder = shared / "reference" / "variables"
    with open(folder / f"{record}.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    columns = [column for column in rows[0] if column.startswith("shape")]
    for column in columns:
        multiplier = float(column.partition("@")[2] or 1)
        shapes = oracle.variable_shapes(family, multiplier, variant=variant)
        expected = [(row["name"], tuple(map(int, row[column].split("x")))) for row in rows]
        assert list(shapes.items()) == expected, column

    with open(folder / f"{record}_endpoints.tsv", newline="") as file:
        endpoints = {hub_name(row["endpoint"]) for row in csv.DictReader(file, delimiter="\t")}
    made_up = oracle.made_up_variables(oracle.variable_shapes(family, 1.0, variant=variant))
    outputs = oracle.run(family, made_up, oracle.made_up_images(size, size), depth_multiplier=1.0, variant=variant)
    assert set(outputs) == endpoints


def test_made_up_variables_keep_float32_rounding_small():
    """The widest published network: what the tests' tolerance of 1e-5 leaves room for."""
    variables = oracle.made_up_variables(oracle.variable_shapes("mobilenet_v2", 1.4))
    images = oracle.made_up_images(96, 96)
    run32, run64 = (
        oracle.run("mobilenet_v2", variables, images, depth_multiplier=1.4, dtype=dtype)
        for dtype in ("float32", "float64")
    )
    for endpoint, expected in run64.items():
        assert_close(run32[endpoint], expected, 5e-6, endpoint)
