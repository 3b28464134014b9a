"""Right models pass on any images: all published models, ten batches of noise each."""

import functools

import numpy as np
import pytest

import converters
import mobilenets
from converters.graphs import frozen_graph
from converters.parity import outputs
from tests.networks import variant_of
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes


@pytest.fixture(autouse=True)
def _made_once(monkeypatch):
    """The copy of the model in float64 is made once, and the graph is opened once, not for each seed."""
    for module, name in ((outputs, "with_dtype"), (frozen_graph, "FrozenGraph")):
        monkeypatch.setattr(module, name, functools.lru_cache(1)(getattr(module, name)))


def failures(name, seeds, folder):
    info = mobilenets.get_model_info(name)
    options = {"depth_multiplier": info.depth_multiplier, "variant": variant_of(info)}
    variables = made_up_variables(variable_shapes(info.family, **options))
    size = info.image_size
    path = folder / "frozen.pb"
    freeze(path, info.family, variables, image_size=size, **options)
    model = converters.convert(variables, name=name)
    reports = {}
    for seed in seeds:
        images = np.random.default_rng(seed).uniform(size=(1, size, size, 3)).astype(np.float32)
        reports[seed] = converters.verify(model, path, images)
    return [str(report) for report in reports.values() if not report.passed]


@pytest.mark.parametrize("name", mobilenets.list_models())
def test_no_false_failure(name, tmp_path):
    assert not failures(name, range(10), tmp_path)


@pytest.mark.parametrize("name", ["mobilenet_v1_025_128", "mobilenet_v2_035_96"])
def test_no_false_failure_of_a_small_model(name, tmp_path):
    assert not failures(name, range(2), tmp_path)
