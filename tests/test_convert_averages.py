"""Plain or averaged, decided from names alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import checkpoints
from converters import ConversionError
from converters.averages import CheckpointNames, choose

NETWORK = [
    "MobilenetV2/Conv/weights",
    "MobilenetV2/Conv/BatchNorm/gamma",
    "MobilenetV2/Conv/BatchNorm/beta",
    "MobilenetV2/Conv/BatchNorm/moving_mean",
    "MobilenetV2/Conv/BatchNorm/moving_variance",
]
TRAINABLE = NETWORK[:3]
AVERAGE = "/ExponentialMovingAverage"


@pytest.mark.parametrize("policy", ["auto", "never"])
def test_without_averages_the_plain_values_are_taken(policy):
    assert choose(NETWORK, CheckpointNames(frozenset(NETWORK), frozenset(), {}), policy, "x.ckpt") == {
        name: name for name in NETWORK
    }


@pytest.mark.parametrize("policy", ["auto", "always"])
@pytest.mark.parametrize("averaged", [TRAINABLE, NETWORK], ids=["trainables", "all"])
def test_averages_of_trainables_and_plain_moving_statistics(policy, averaged):
    chosen = choose(NETWORK, CheckpointNames(frozenset(NETWORK), frozenset(averaged), {}), policy, "x.ckpt")
    assert chosen == {name: name + AVERAGE if name in TRAINABLE else name for name in NETWORK}


def test_never_takes_the_plain_values():
    assert choose(NETWORK, CheckpointNames(frozenset(NETWORK), frozenset(NETWORK), {}), "never", "x.ckpt") == {
        name: name for name in NETWORK
    }


@pytest.mark.parametrize(("policy", "averaged"), [("auto", TRAINABLE[:2]), ("always", TRAINABLE[:2]), ("always", [])])
def test_some_averages_are_an_error_that_names_those_without(policy, averaged):
    with pytest.raises(ConversionError, match=r"x.ckpt holds averages for") as error:
        choose(NETWORK, CheckpointNames(frozenset(NETWORK), frozenset(averaged), {}), policy, "x.ckpt")
    for name in TRAINABLE:
        assert (name in str(error.value)) == (name not in averaged)


def test_averages_of_moving_statistics_alone_count_for_nothing():
    chosen = choose(NETWORK, CheckpointNames(frozenset(NETWORK), frozenset(NETWORK[3:]), {}), "auto", "x.ckpt")
    assert chosen == {name: name for name in NETWORK}


def test_plain_values_that_are_not_there():
    found = CheckpointNames(frozenset(NETWORK[3:]), frozenset(TRAINABLE), {})
    assert choose(NETWORK, found, "auto", "x.ckpt")[TRAINABLE[0]] == TRAINABLE[0] + AVERAGE
    with pytest.raises(
        ConversionError, match=f"no plain values of 3 variables that ema='never' needs: .*{TRAINABLE[0]}"
    ):
        choose(NETWORK, found, "never", "x.ckpt")


def test_unknown_policy():
    with pytest.raises(ValueError, match=r"'sometimes'.*auto, always, never"):
        choose(NETWORK, CheckpointNames(frozenset(NETWORK), frozenset(), {}), "sometimes", "x.ckpt")


@given(st.sets(st.sampled_from(TRAINABLE)), st.sampled_from(["auto", "always", "never"]))
def test_every_variable_has_one_source_or_there_is_an_error(averaged, policy):
    """All or none: a mixture of plain and averaged trainables never comes out."""
    try:
        chosen = choose(NETWORK, CheckpointNames(frozenset(NETWORK), frozenset(averaged), {}), policy, "x.ckpt")
    except ConversionError:
        assert averaged != set(TRAINABLE) and policy != "never"
        return
    assert set(chosen) == set(NETWORK)
    taken = {name for name in TRAINABLE if chosen[name] != name}
    assert taken in (set(), set(TRAINABLE))
    assert taken == (set(TRAINABLE) if policy != "never" and averaged else set())


def test_an_array_is_read_when_it_is_accessed():
    class Counting(dict):
        reads = 0
        shapes = {"a": (2,), "a/ExponentialMovingAverage": (2,)}  # noqa: RUF012
        dtypes = dict.fromkeys(shapes, np.dtype("float32"))

        def __getitem__(self, key):
            Counting.reads += 1
            return super().__getitem__(key)

    variables = Counting({"a": np.zeros(2), "a/ExponentialMovingAverage": np.ones(2)})
    chosen = checkpoints.open_variables(variables).renamed({"a": "a/ExponentialMovingAverage"})
    assert (list(chosen), len(chosen), chosen.shapes) == (["a"], 1, {"a": (2,)})
    assert Counting.reads == 0
    assert chosen["a"].tolist() == [1, 1]
    assert Counting.reads == 1
