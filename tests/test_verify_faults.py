"""Injected faults: what each comparison finds; the rule of the exact model misses none that the old rule found."""

import functools

import numpy as np
import pytest

import converters
from converters.graphs import frozen_graph
from converters.graphs.frozen_graph import FrozenGraph
from converters.hub import module as hub
from converters.hub.module import open_hub_module
from tests.faults import FAULTS, V3_FAULTS, applicable, old_rule
from tests.oracle.files import freeze
from tests.oracle.hub_modules import write_tf2_module
from tests.oracle.recipes import made_up_images, made_up_variables
from tests.oracle.run import variable_shapes

SIZE = 64
# In float32 their effect is within rounding. In float64 and in the comparison of weights and structure they are found.
WITHIN_ROUNDING = {
    "one weight off by one bit",
    "one variance off by 1e-3",
    "one moving mean off by 1e-3 of its size",
    "epsilon 1.001e-3",
    "epsilon 1.001e-3 in one batch norm",
}
# In a frozen graph they are found by its batch norms' epsilon.
EPSILON = {"epsilon 1.001e-3", "epsilon 1.001e-3 in one batch norm"}
# An option of the constructor gives these networks, so equal weights say nothing against them: only outputs do.
STRIDES_OF_AN_OPTION = {"first stride 1", "output stride 16"}
FAMILIES = {"mobilenet_v1": 0.25, "mobilenet_v2": 0.35, "inception_v2": 0.25}
IMAGES = made_up_images(SIZE, SIZE)
# Faults that need a layer which a family has not.
ABSENT = {
    "mobilenet_v1": {"a residual dropped"},
    "mobilenet_v2": set(),
    "inception_v2": {
        "a residual dropped",
        "two depthwise kernels of equal shape swapped",
        "a depthwise kernel turned by 180 degrees",
        "a depthwise kernel transposed",
        "ReLU for ReLU6",
        "ReLU6 bounded by 6.0001",
        "one ReLU6 missing",
        "explicit padding at stride 2",
        "one dilation",
        "output stride 16",
    },
}


@pytest.fixture(autouse=True, scope="module")
def _opened_once():
    """Each reference is opened once, not for each fault."""
    with pytest.MonkeyPatch.context() as patch:
        for place, name in ((frozen_graph, "FrozenGraph"), (hub, "open_hub_module")):
            patch.setattr(place, name, functools.cache(getattr(place, name)))
        yield


def models(family):
    variables = made_up_variables(variable_shapes(family, FAMILIES[family]))
    return variables, converters.convert(variables, input_shape=(SIZE, SIZE, 3))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes `frozen` once for each family; a fixture with parameters would be made again for each fault."""

    @functools.cache
    def of_family(family):
        variables, model = models(family)
        path = tmp_path_factory.mktemp("faults") / "frozen.pb"
        freeze(path, family, variables, depth_multiplier=FAMILIES[family], image_size=SIZE)
        return model, path, FrozenGraph(path).run(IMAGES)

    return of_family


@pytest.fixture(params=FAMILIES)
def frozen(request, made):
    """A right model, the frozen graph of its variables, and what the graph computes."""
    return made(request.param)


@pytest.fixture(scope="module")
def hub_module(tmp_path_factory):
    """The same with a hub module in place of the frozen graph."""
    variables, model = models("mobilenet_v2")
    path = tmp_path_factory.mktemp("faults") / "module"
    write_tf2_module(path, "mobilenet_v2", variables, FAMILIES["mobilenet_v2"], SIZE)
    return model, path, open_hub_module(path).run(IMAGES)


@pytest.fixture(scope="module")
def real(shared):
    """The real MobileNet V1 and Google's frozen graph of it."""
    folder = shared / "real" / "mobilenet_v1_0.25_128"
    model = converters.convert(folder / "mobilenet_v1_0.25_128.ckpt")
    images = made_up_images(128, 128)
    return model, folder / "frozen_graph.pb", FrozenGraph(folder / "frozen_graph.pb").run(images), images


def check(fault, model, path, reference, images):
    wrong = FAULTS[fault](model)
    report = converters.verify(wrong, path, images)
    # With real weights the old rule fails the right model too; then it finds no fault.
    if old_rule(wrong, reference, images) and not old_rule(model, reference, images):
        assert not report.passed
    assert fault in WITHIN_ROUNDING - EPSILON or not report.passed
    weights = converters.verify(wrong, converters.slim_variables(model))
    assert weights.passed == (fault in STRIDES_OF_AN_OPTION)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_faults_that_a_family_lacks_are_these(family):
    _, model = models(family)
    assert {fault for fault in FAULTS if not applicable(fault, model)} == ABSENT[family]


@pytest.mark.core
@pytest.mark.parametrize(
    ("frozen", "fault"),
    # Those of MobileNet V1 are below.
    [(family, fault) for family in ("mobilenet_v2", "inception_v2") for fault in FAULTS if fault not in ABSENT[family]],
    indirect=["frozen"],
)
def test_a_fault_is_found_with_made_up_weights(fault, frozen):
    check(fault, *frozen, IMAGES)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ABSENT["mobilenet_v1"]])
def test_a_fault_is_found_with_real_weights(fault, real):
    check(fault, *real)


@pytest.fixture(scope="module")
def frozen_v3(tmp_path_factory):
    variables = made_up_variables(variable_shapes("mobilenet_v3", 0.35, variant="small"))
    path = tmp_path_factory.mktemp("faults") / "frozen.pb"
    freeze(path, "mobilenet_v3", variables, depth_multiplier=0.35, image_size=SIZE, variant="small")
    model = converters.convert(variables, input_shape=(SIZE, SIZE, 3))
    assert converters.verify(model, path, IMAGES).passed
    return model, path


@pytest.mark.parametrize("fault", V3_FAULTS)
def test_a_fault_of_mobilenet_v3s_own_parts_is_found(fault, frozen_v3):
    model, path = frozen_v3
    wrong = V3_FAULTS[fault](model)
    assert not converters.verify(wrong, path, IMAGES).passed
    assert not converters.verify(wrong, converters.slim_variables(model)).passed


@pytest.mark.parametrize("fault", sorted(WITHIN_ROUNDING))
def test_what_float32_cannot_see_float64_does(fault, frozen):
    model, path, _ = frozen
    assert not converters.verify(FAULTS[fault](model), path, IMAGES, dtype="float64").passed


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_a_hub_module(fault, hub_module):
    model, path, reference = hub_module
    wrong = FAULTS[fault](model)
    report = converters.verify(wrong, path, IMAGES)
    if old_rule(wrong, reference, IMAGES):
        assert not report.passed
    assert fault in WITHIN_ROUNDING or not report.passed


def test_a_right_model_passes(frozen):
    model, path, _ = frozen
    report = converters.verify(model, path, IMAGES)
    assert report.passed, str(report)
    assert all(row.reference_error <= 4 * max(row.rounding, 2.5e-6) for row in report.rows)
    assert converters.verify(model, path, IMAGES, dtype="float64").tolerance == 1e-12


def test_a_bound_of_the_user_replaces_the_rule(frozen):
    model, path, _ = frozen
    report = converters.verify(model, path, IMAGES, tolerance=1e-30)
    assert not report.passed and {row.bound for row in report.rows} == {1e-30}
    assert report.tolerance == 1e-30


def test_a_model_whose_float32_overflows_does_not_pass_everything(frozen):
    """The rounding of such a model is no measure."""
    from converters.parity.comparison import compare_outputs
    from converters.parity.exact import Exact

    values = {"MobilenetV1/Logits": np.array([[1.0, 2.0]])}
    for rounding in (np.inf, np.nan, 3.0):
        exact = Exact(values, {"MobilenetV1/Logits": rounding})
        (row,) = compare_outputs(exact, {"MobilenetV1/Logits": np.array([[1.5, 2.0]])})
        assert not row.passed
