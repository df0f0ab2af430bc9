"""Spaces: points in and out of the unit cube, constraints, faults."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.parameter_optimizer import TECHNICAL_SPACE, Boolean, Categorical, Integer, Less, Real, Space

MIXED = Space(
    [
        Integer("fast", 2, 50), Integer("slow", 10, 200, log=True), Integer("even", 0, 9, step=2),
        Real("rate", 1e-4, 1.0, log=True), Real("width", -1.0, 1.0), Categorical("kind", ["a", "b", 3]), Boolean("on"),
    ],
    [Less("fast", "slow")],
)  # fmt: skip


def shorter_than_100(params):
    return params["slow"] < 100


@pytest.mark.parametrize("space", [MIXED, TECHNICAL_SPACE], ids=["mixed", "technical"])
def test_samples_are_points_of_the_space_in_plain_python(space):
    for params in space.sample(np.random.default_rng(1), 300):
        assert space.contains(params)
        assert all(type(value) in (int, float, str, bool) for value in params.values())
        assert json.loads(json.dumps(params)) == params


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-0.5, 1.5), min_size=len(MIXED), max_size=len(MIXED)))
def test_every_vector_becomes_a_point_and_points_come_back_from_their_vector(vector):
    params = MIXED.from_unit(vector)
    assert MIXED.contains(params)
    back = MIXED.from_unit(MIXED.to_unit(params))
    assert {**back, "rate": 0, "width": 0} == {**params, "rate": 0, "width": 0}
    assert back["rate"] == pytest.approx(params["rate"], rel=1e-12)
    assert back["width"] == pytest.approx(params["width"], abs=1e-12)


def test_whole_numbers_and_choices_own_equal_cells():
    space = Space([Integer("n", 1, 4), Integer("even", 0, 9, step=2), Categorical("kind", ["a", "b"]), Boolean("on")])
    grid = (np.arange(2000) + 0.5) / 2000
    drawn = space.parameters(space.snap(np.column_stack([grid] * 4)))
    for name, values in (("n", [1, 2, 3, 4]), ("even", [0, 2, 4, 6, 8]), ("kind", ["a", "b"]), ("on", [False, True])):
        counts = [sum(params[name] == value for params in drawn) for value in values]
        assert sum(counts) == 2000
        assert max(counts) - min(counts) <= 1


def test_a_logarithmic_dimension_gives_equal_factors_equal_shares():
    drawn = Space([Real("rate", 1e-4, 1.0, log=True)]).sample(np.random.default_rng(0), 8000)
    shares = np.histogram(np.log10([params["rate"] for params in drawn]), bins=[-4, -3, -2, -1, 0])[0] / 8000
    assert shares == pytest.approx([0.25] * 4, abs=0.02)


def test_sampling_is_uniform_over_what_a_constraint_allows():
    space = Space([Integer("a", 1, 3), Integer("b", 1, 3)], [Less("a", "b")])
    drawn = [(params["a"], params["b"]) for params in space.sample(np.random.default_rng(0), 6000)]
    assert {pair: drawn.count(pair) / 6000 for pair in set(drawn)} == pytest.approx(
        {(1, 2): 1 / 3, (1, 3): 1 / 3, (2, 3): 1 / 3}, abs=0.03
    )


def test_the_same_generator_gives_the_same_sample():
    assert MIXED.sample(np.random.default_rng(7), 20) == MIXED.sample(np.random.default_rng(7), 20)


def test_a_broken_pair_is_repaired_by_raising_the_upper_one_first():
    space = Space([Integer("fast", 5, 50), Integer("slow", 20, 40)], [Less("fast", "slow", gap=3)])
    assert space.from_unit([0.5, 0.0]) == {"fast": 27, "slow": 30}
    assert space.from_unit([1.0, 0.0]) == {"fast": 37, "slow": 40}


def test_chains_of_constraints_are_repaired_too():
    space = Space([Integer(name, 1, 9) for name in "abc"], [Less("b", "c"), Less("a", "b")])
    assert space.from_unit([1.0, 0.0, 0.0]) == {"a": 7, "b": 8, "c": 9}


def test_what_a_function_forbids_is_never_sampled_and_cannot_be_repaired():
    space = Space.of({"fast": (5, 50), "slow": (20, 200)}, [Less("fast", "slow"), shorter_than_100])
    assert all(params["slow"] < 100 for params in space.sample(np.random.default_rng(0), 200))
    with pytest.raises(SettingsError, match=r"breaks .*shorter_than_100"):
        space.from_unit([0.1, 0.9])


def test_constraints_that_allow_nothing_end_in_a_clear_error():
    space = Space([Real("x", 0.0, 1.0)], [lambda params: params["x"] > 2.0])
    with pytest.raises(AIBacktraderError, match=r"allowed none of .* points"):
        space.sample(np.random.default_rng(0), 1)


def test_neighbours_differ_in_one_dimension_and_are_points_of_the_space():
    here = {"fast": 19, "slow": 20, "even": 0, "rate": 0.01, "width": 1.0, "kind": "b", "on": True}
    near = MIXED.neighbours(here)
    assert all(MIXED.contains(params) for params in near)
    changed = [next(name for name in here if params[name] != here[name]) for params in near]
    assert all(sum(params[name] != here[name] for name in here) == 1 for params in near)
    # slow 21 would do, fast 21 would break fast < slow; even and width lie at an end; two other kinds; on is off.
    assert {name: changed.count(name) for name in here} == {
        "fast": 1, "slow": 1, "even": 1, "rate": 2, "width": 1, "kind": 2, "on": 1,
    }  # fmt: skip


def test_numpy_numbers_and_floats_that_are_whole_are_taken_flags_are_not():
    space = Space([Integer("n", 1, 4)])
    assert space.contains({"n": np.int64(3)})
    assert space.contains({"n": 3.0})
    assert not space.contains({"n": True})
    assert not space.contains({"n": 2.5})
    assert not space.contains({"n": math.nan})
    assert type(space.from_unit(space.to_unit({"n": np.int64(3)}))["n"]) is int


def test_every_fault_of_a_point_is_named():
    with pytest.raises(SettingsError, match="parameters: 3 faults") as caught:
        MIXED.to_unit({"fast": 60, "slow": 30, "even": 0, "rate": 0.1, "width": 0.0, "kind": "a", "of": True})
    assert caught.value.faults[0].startswith("on is missing")
    assert caught.value.faults[1].startswith("of is no dimension")
    assert caught.value.faults[2] == "fast must be a whole number from 2 to 50, got 60"


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Integer("n", 5, 5), "low must be smaller than high, got 5 and 5; give Categorical a single choice"),
        (lambda: Integer("n", 6, 5), "got 6 and 5; exchange them"),
        (lambda: Integer("n", 0, 5, log=True), "log needs low of at least 1, got 0"),
        (lambda: Integer("n", 1.5, 5), "low must be a whole number, got 1.5"),
        (lambda: Integer("n", 1, 5, step=0), "step must be at least 1, got 0"),
        (lambda: Integer("n", 1, 5, step=9), "step must fit"),
        (lambda: Real("x", 1.0, 1.0), "low must be smaller than high, got 1 and 1; give Categorical"),
        (lambda: Real("x", 0.0, 1.0, log=True), "log needs low above 0"),
        (lambda: Real("x", math.nan, math.inf), "2 faults"),
        (lambda: Real("", 0.0, 1.0), "name must be a text"),
        (lambda: Categorical("k", []), "choices must not be empty"),
        (lambda: Categorical("k", "abc"), "choices must be a list, got the text 'abc'"),
        (lambda: Categorical("k", ["a", "a"]), "choices must be different"),
        (lambda: Categorical("k", [None]), "a choice must be a text, a finite number or a flag, got None"),
        (lambda: Space([]), "needs at least one dimension"),
        (lambda: Space([Boolean("a"), Real("a", 0, 1)]), "'a' names 2 dimensions"),
        (lambda: Space([("a", 1, 2)]), "a dimension must be Integer, Real, Categorical or Boolean"),
        (lambda: Space([Real("a", 0, 1)], [Less("a", "b")]), "'b' is no number dimension"),
        (lambda: Space([Real("a", 5, 6), Real("b", 0, 1)], [Less("a", "b")]), "no value of 'a' is that far below 'b'"),
        (lambda: Space([Real("a", 0, 1)], ["a < 1"]), "a constraint must be Less or a function"),
        (lambda: Less("a", "a"), "two dimensions, got 'a' twice"),
        (lambda: Less("a", "b", gap=-1), "gap must be at least 0"),
        (lambda: Space.of({"a": {"low": 1}}), r"'a' must be \(low, high\)"),
        (lambda: Space.of({"a": (1, 1), "b": (3, 2)}), "2 faults"),
        (lambda: MIXED.from_unit([0.5]), "7 coordinates"),
        (lambda: MIXED.from_unit([math.nan] * 7), "must be finite"),
    ],
)  # fmt: skip
def test_faulty_spaces_say_what_is_wrong(build, match):
    with pytest.raises(SettingsError, match=match):
        build()


def test_a_dictionary_becomes_a_space():
    space = Space.of(
        {"n": (1, 5), "x": (0, 1.0), "f": (1, 100, "log"), "kind": ["a", "b"], "on": bool, "held": 3},
    )
    assert space.dimensions == (
        Integer("n", 1, 5), Real("x", 0.0, 1.0), Integer("f", 1, 100, log=True), Categorical("kind", ["a", "b"]),
        Boolean("on"), Categorical("held", [3]),
    )  # fmt: skip
    assert {params["held"] for params in space.sample(np.random.default_rng(0), 5)} == {3}


def test_the_fingerprint_tells_spaces_apart():
    one = Space.of({"a": (1, 5)})
    assert one.fingerprint == Space.of({"a": (1, 5)}).fingerprint
    others = [Space.of({"a": (1, 6)}), Space.of({"b": (1, 5)}), Space.of({"a": (1, 5)}, [shorter_than_100])]
    assert len({one.fingerprint, *(space.fingerprint for space in others)}) == 4


def test_choices_lie_equally_far_apart_for_a_surrogate():
    space = Space.of({"kind": ["a", "b", "c", "d"]})
    features = space.features(np.array([space.to_unit({"kind": kind}) for kind in "abcd"]))
    squares = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    assert squares[~np.eye(4, dtype=bool)] == pytest.approx(1.0)


def test_the_technical_space_has_the_fifteen_parameters_in_order():
    assert len(TECHNICAL_SPACE) == 15
    for params in TECHNICAL_SPACE.sample(np.random.default_rng(3), 500):
        assert params["ema_fast"] < params["ema_slow"]
        assert params["macd_fast"] < params["macd_slow"]
        assert params["rsi_oversold"] < params["rsi_overbought"]
