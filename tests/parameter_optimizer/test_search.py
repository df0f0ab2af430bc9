"""Search: known minima, failures, batches, resume, wrong calls."""

import itertools
import json
import math

import numpy as np
import pytest

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.parameter_optimizer import Less, Search, Space

BRANIN = Space.of({"x": (-5.0, 10.0), "y": (0.0, 15.0)})
HARTMANN = Space.of({f"x{place}": (0.0, 1.0) for place in range(6)})
WHOLE = Space.of({"fast": (2, 30), "slow": (5, 90), "kind": ["a", "b", "c"]}, [Less("fast", "slow")])
# Forests take longest; one short test of both is always run.
FORESTS = [pytest.param(name, marks=pytest.mark.slow) for name in ("et", "rf")]
SURROGATES = ["gp", *FORESTS, "random", "de"]

_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381],
    ]
)  # fmt: skip


def branin(params):
    x, y = params["x"], params["y"]
    bowl = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return bowl * bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def hartmann(params):
    x = np.array(list(params.values()))
    return -float((np.array([1, 1.2, 3, 3.2]) * np.exp(-(_A * (x - _P) ** 2).sum(axis=1))).sum())


def rules(params):
    return {"a": 0.0, "b": 3.0, "c": 1.0}[params["kind"]] - abs(params["fast"] - 9) - abs(params["slow"] - 40) / 5


def run(search, objective):
    while not search.done:
        for proposal in search.ask():
            search.tell(proposal.number, objective(proposal.params))
    return search


def stumbling(objective, seed, share=0.2):
    rng = np.random.default_rng(seed)
    failures = itertools.cycle([None, math.nan, math.inf])
    return lambda params: next(failures) if rng.random() < share else objective(params)


def test_the_test_functions_have_their_published_minima():
    assert branin({"x": math.pi, "y": 2.275}) == pytest.approx(0.397887, abs=1e-6)
    best = dict(enumerate([0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573]))
    assert hartmann(best) == pytest.approx(-3.32237, abs=1e-5)


@pytest.mark.parametrize("seed", [0, pytest.param(range(1, 8), marks=pytest.mark.slow)])
def test_branin_is_solved_in_50_trials(seed):
    seeds = [seed] if isinstance(seed, int) else [0, *seed]
    found = [run(Search(BRANIN, n_trials=50, seed=s, maximize=False), branin).best.score for s in seeds]
    assert np.mean(found) <= 0.399


@pytest.mark.slow
def test_hartmann6_is_solved_in_60_trials():
    seeds = range(100, 108)  # nothing was tuned on these
    found = [run(Search(HARTMANN, n_trials=60, seed=s, maximize=False), hartmann).best.score for s in seeds]
    assert np.mean(found) <= -3.24


@pytest.mark.parametrize("seeds", [[0], pytest.param(range(8), marks=pytest.mark.slow)])
def test_every_fifth_call_failing_neither_ends_nor_misleads_the_search(seeds):
    found = []
    for seed in seeds:
        search = run(Search(BRANIN, n_trials=50, seed=seed, maximize=False), stumbling(branin, seed))
        assert len(search.trials) == 50
        assert 3 <= sum(trial.failed is not None for trial in search.trials) <= 20
        found.append(search.best.score)
    assert np.mean(found) <= 0.45


def test_a_region_that_fails_is_left():
    def halved(params):  # the basin at x = 9.42 lies in the half that fails
        return None if params["x"] > 6.0 else branin(params)

    search = run(Search(BRANIN, n_trials=50, seed=3, maximize=False), halved)
    assert search.best.score <= 0.41
    assert sum(trial.failed is not None for trial in search.trials[20:]) <= 8


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_every_surrogate_spends_the_budget_on_valid_points_and_repeats_itself(surrogate):
    one, two = (run(Search(WHOLE, n_trials=20, seed=5, surrogate=surrogate), rules) for _ in range(2))
    assert one.trials == two.trials
    assert [trial.number for trial in one.trials] == list(range(20))
    assert all(WHOLE.contains(trial.params) for trial in one.trials)
    assert one.best.score == max(trial.score for trial in one.trials)
    other = run(Search(WHOLE, n_trials=20, seed=6, surrogate=surrogate), rules)
    assert other.trials != one.trials


@pytest.mark.slow
@pytest.mark.parametrize("surrogate", ["gp", "et", "rf"])
def test_a_model_finds_more_than_chance_and_repeats_no_point(surrogate):
    search = run(Search(WHOLE, n_trials=40, seed=1, surrogate=surrogate), rules)
    points = [tuple(trial.params.values()) for trial in search.trials]
    assert len(set(points)) == 40
    chance = [run(Search(WHOLE, n_trials=40, seed=seed, surrogate="random"), rules).best.score for seed in range(20)]
    assert search.best.score > np.mean(chance)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_neither_the_order_of_telling_nor_the_size_of_asking_changes_the_trials(surrogate):
    whole = run(Search(WHOLE, n_trials=21, seed=2, surrogate=surrogate, batch=4), rules)
    pieces = Search(WHOLE, n_trials=21, seed=2, surrogate=surrogate, batch=4)
    rng = np.random.default_rng(0)
    while not pieces.done:
        batch = []
        while asked := pieces.ask(int(rng.integers(1, 4))):
            batch.extend(asked)
        for place in rng.permutation(len(batch)):
            pieces.tell(batch[place].number, rules(batch[place].params))
    assert pieces.trials == whole.trials


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize(
    "stop", [pytest.param(3, marks=pytest.mark.slow), pytest.param(14, marks=pytest.mark.slow), 18]
)
def test_a_search_goes_on_from_its_state_as_if_never_stopped(surrogate, stop):
    make = {"n_trials": 22, "seed": 4, "surrogate": surrogate, "batch": 4}
    whole = run(Search(WHOLE, **make), rules)
    first = Search(WHOLE, **make)
    while len(first.trials) < stop:
        for proposal in first.ask(1):
            first.tell(proposal.number, rules(proposal.params))
    first.ask(1)  # handed out and lost
    state = json.loads(json.dumps(first.state(), allow_nan=False))
    assert run(Search.from_state(WHOLE, state), rules).trials == whole.trials


def test_maximising_is_minimising_the_negative():
    down = run(Search(BRANIN, n_trials=20, seed=1, maximize=False), branin)
    up = run(Search(BRANIN, n_trials=20, seed=1), lambda params: -branin(params))
    assert [trial.params for trial in up.trials] == [trial.params for trial in down.trials]
    assert up.best.score == -down.best.score


def test_a_space_smaller_than_the_budget_is_searched_whole_once():
    space = Space.of({"a": (1, 3), "b": (1, 3), "kind": ["x", "y"]}, [Less("a", "b")])
    search = run(Search(space, n_trials=50, seed=0), lambda params: params["a"])
    points = {tuple(trial.params.values()) for trial in search.trials}
    assert len(search.trials) == len(points) == 6


def test_a_flat_objective_is_no_trouble():
    search = run(Search(WHOLE, n_trials=25, seed=0), lambda params: 0.0)
    assert search.best.number == 0


def test_one_ruinous_score_does_not_hide_the_others():
    def ruined(params):
        return 1e12 if params["x"] < -4.5 else branin(params)

    assert run(Search(BRANIN, n_trials=40, seed=0, maximize=False), ruined).best.score <= 0.41


def test_all_failing_ends_within_the_budget_and_says_so():
    search = run(Search(BRANIN, n_trials=15, seed=0), lambda params: None)
    assert search.done
    with pytest.raises(AIBacktraderError, match=r"none of 15 trials has a score \(no score\)"):
        _ = search.best


def test_a_batch_is_asked_for_once_and_the_next_waits_for_its_scores():
    search = Search(BRANIN, n_trials=20, seed=0, n_initial=5, batch=3)
    asked = search.ask()
    assert [proposal.number for proposal in asked] == [0, 1, 2, 3, 4]
    assert search.ask() == ()
    for proposal in asked[1:]:
        search.tell(proposal.number, 1.0)
    assert search.ask() == ()
    search.tell(0, 2.0, seconds=0.5, figures={"trades": 7.0})
    assert [proposal.number for proposal in search.ask()] == [5, 6, 7]
    assert search.best.figures == {"trades": 7.0}


def test_wrong_calls_are_named():
    search = Search(BRANIN, n_trials=20, seed=0)
    with pytest.raises(SettingsError, match="trial 0 was not asked for"):
        search.tell(0, 1.0)
    number = search.ask(1)[0].number
    with pytest.raises(SettingsError, match="score must be a number or None, got 'good'"):
        search.tell(number, "good")
    search.tell(number, 1.0)
    with pytest.raises(SettingsError, match="trial 0 was told before"):
        search.tell(number, 1.0)
    with pytest.raises(SettingsError, match="n must be at least 1"):
        search.ask(0)
    with pytest.raises(SettingsError, match="belongs to another space"):
        Search.from_state(WHOLE, search.state())
    with pytest.raises(SettingsError, match="5 faults"):
        Search(BRANIN, n_trials=0, seed=-1, surrogate="gbrt", batch=0, n_initial=0)
    with pytest.raises(SettingsError, match="the constraints allow no point"):
        Search(Space([*WHOLE.dimensions], [lambda params: False]), n_trials=5, seed=0)


@pytest.mark.parametrize("surrogate", ["et", "rf"])
def test_forests_propose_new_points_and_repeat_themselves(surrogate):
    one, two = (run(Search(WHOLE, n_trials=10, seed=5, n_initial=6, surrogate=surrogate), rules) for _ in range(2))
    assert one.trials == two.trials
    assert len({tuple(trial.params.values()) for trial in one.trials}) == 10
