"""Properties that hold for all inputs: widths, the naming in both directions, the averages, the bijection."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mobilenets
from converters import ConversionError
from converters.averages import AVERAGE, CheckpointNames, choose
from converters.differences import differences
from converters.roles import roles
from converters.weights import assign, is_trainable, slim_variables, weights_by_slim_name
from mobilenets import layer_name, slim_name
from tests.networks import CONSTRUCTORS

FAMILIES = st.sampled_from(sorted(CONSTRUCTORS))
MULTIPLIERS = st.floats(0.01, 4, allow_nan=False)
MODEL = mobilenets.MobileNetV1(0.25, (32, 32, 3), num_classes=3)
SHAPES = mobilenets.variable_shapes("mobilenet_v1", 0.25, 3)
MINIMUM = {"mobilenet_v1": 8, "inception_v2": 16}


@given(MULTIPLIERS)
def test_v2_widths_are_multiples_of_8_never_below_90_percent(multiplier):
    exact, found = mobilenets.widths("mobilenet_v2", 1.0), mobilenets.widths("mobilenet_v2", multiplier)
    assert found.keys() == exact.keys()
    for scope, width in found.items():
        assert width % 8 == 0 and width >= 8
        if scope.endswith("/project") or scope == "MobilenetV2/Conv":
            asked = exact[scope] * multiplier
            assert width >= 0.9 * asked
            assert width <= max(8, asked + 8)


@given(MULTIPLIERS)
def test_v2_last_layer_shrinks_only_with_the_option(multiplier):
    last = {
        scaled: mobilenets.widths("mobilenet_v2", multiplier, scaled)["MobilenetV2/Conv_1"]
        for scaled in (None, True, False)
    }
    assert last[False] == 1280
    assert last[None] == (last[True] if multiplier >= 1 else 1280)
    assert abs(last[True] - 1280 * multiplier) <= 8


@given(st.sampled_from(sorted(MINIMUM)), MULTIPLIERS)
def test_other_widths_are_cut_down_to_a_minimum(family, multiplier):
    exact, found = mobilenets.widths(family, 1.0), mobilenets.widths(family, multiplier)
    assert found == {scope: max(math.floor(width * multiplier), MINIMUM[family]) for scope, width in exact.items()}


@given(FAMILIES, MULTIPLIERS, MULTIPLIERS)
def test_a_larger_multiplier_makes_nothing_narrower(family, one, other):
    narrow, wide = (mobilenets.widths(family, multiplier) for multiplier in sorted((one, other)))
    assert all(narrow[scope] <= wide[scope] for scope in wide)


part = st.from_regex(r"[A-Za-z0-9.]+(_[A-Za-z0-9.]+)*", fullmatch=True)


@given(st.lists(part, min_size=1, max_size=6).map("/".join))
def test_scopes_and_layer_names_are_one_another(scope):
    assert "/" not in layer_name(scope)
    assert slim_name(layer_name(scope)) == scope


@given(st.lists(part, min_size=1, max_size=4).map("/".join), st.lists(part, min_size=1, max_size=4).map("/".join))
def test_two_scopes_have_two_layer_names(one, other):
    assert (layer_name(one) == layer_name(other)) == (one == other)


@pytest.mark.parametrize("family", sorted(CONSTRUCTORS))
@settings(max_examples=4, deadline=None)
@given(multiplier=st.sampled_from([0.1, 0.3, 0.35, 0.62]))
def test_every_weight_has_the_name_and_shape_of_its_variable(family, multiplier):
    model = CONSTRUCTORS[family](multiplier, (32, 32, 3), num_classes=5)
    found = {name: tuple(weight.shape) for name, weight in weights_by_slim_name(model).items()}
    assert found == mobilenets.variable_shapes(family, multiplier, 5)


@given(
    st.sets(st.sampled_from(sorted(SHAPES))),
    st.sets(st.sampled_from(sorted(SHAPES))),
    st.sampled_from(["auto", "always", "never"]),
)
def test_no_mixture_of_averages_comes_out(plain, averaged, policy):
    """Whatever a checkpoint holds: each variable has one source that is there, trainables all plain or all averaged."""
    names = plain | {f"{name}/{AVERAGE}" for name in averaged}
    sorted_names = roles({name: (3,) for name in names})
    assert (sorted_names.plain, sorted_names.averages) == (plain, {name: f"{name}/{AVERAGE}" for name in averaged})
    found = CheckpointNames(sorted_names.plain, frozenset(sorted_names.averages), sorted_names.companions)
    wanted = plain | averaged
    try:
        chosen = choose(wanted, found, policy, "net.ckpt")
    except ConversionError as error:
        assert "net.ckpt" in str(error)
        return
    assert chosen.keys() == wanted and set(chosen.values()) <= names
    assert len({chosen[name] != name for name in wanted if is_trainable(name)}) <= 1
    assert all(chosen[name] == name for name in wanted if not is_trainable(name))


shapes = st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.integers(0, 3), max_size=3).map(tuple), max_size=8)


@given(shapes, shapes)
def test_differences_are_those_that_there_are(expected, found):
    lines = differences(expected, found)
    assert (not lines) == (expected == found)
    assert len(lines) == sum(expected.get(name) != found.get(name) for name in expected.keys() | found.keys())
    swapped = differences(found, expected)
    assert sorted(line.sign for line in swapped) == sorted(
        line.sign.translate(str.maketrans("+-", "-+")) for line in lines
    )


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_what_is_assigned_comes_back_bit_for_bit(seed, random):
    values = np.random.default_rng(seed)
    names = list(SHAPES)
    random.shuffle(names)
    variables = {name: values.normal(size=SHAPES[name]).astype(np.float32) for name in names}
    assign(MODEL, variables)
    back = slim_variables(MODEL)
    assert back.keys() == variables.keys()
    assert all(back[name].tobytes() == variables[name].tobytes() for name in names)


@settings(max_examples=15, deadline=None)
@given(st.sets(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=5), st.booleans())
def test_a_mapping_that_does_not_fit_changes_nothing(names, misshapen):
    before = {name: array.tobytes() for name, array in slim_variables(MODEL).items()}
    wrong = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    for name in names:
        if misshapen:
            wrong[name] = np.ones((*SHAPES[name], 2), np.float32)
        else:
            del wrong[name]
    with pytest.raises(ConversionError) as error:
        assign(MODEL, wrong)
    assert all(name in str(error.value) for name in names)
    assert {name: array.tobytes() for name, array in slim_variables(MODEL).items()} == before
