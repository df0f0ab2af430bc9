"""ParameterOptimizer: as the design prints it, workers, cache, ledger, interruption, resume."""

import asyncio
import dataclasses
import os
import subprocess
import sys
import textwrap
import time

import cloudpickle
import pytest

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.evidence.ledger import MemoryLedger, TrialKey
from ai_backtrader.parameter_optimizer import (
    TECHNICAL_SPACE,
    OptimizationConfig,
    OptimizerSettings,
    ParameterOptimizer,
)
from ai_backtrader.values import Regime

RANGES = {"fast": (2, 30), "slow": (5, 90)}
QUICK = OptimizerSettings(surrogate="de")


def config(**changes):
    return OptimizationConfig(**{"symbol": "BTC/USDT", "n_trials": 16, "space": RANGES, **changes})


def hill(params):
    return -abs(params["fast"] - 9) - abs(params["slow"] - 40) / 5


class Store:
    """Journal and store in one, as the learning database is."""

    def __init__(self):
        self.events = []

    def record(self, event):
        self.events.append(event)

    def optimization(self, key):
        return next((event for event in self.events if event.key == key), None)


def test_the_printed_example_runs_on_the_fifteen_parameters():
    seen = []

    def my_backtest_function(params):
        seen.append(params)
        return -abs(params["ema_fast"] - 12) - abs(params["bb_std"] - 2.0)

    optimizer = ParameterOptimizer(QUICK, seed=1)

    async def printed():
        best_params, score = await optimizer.optimize(
            config=OptimizationConfig(symbol="BTC/USDT", regime="bull", n_trials=50),
            backtest_fn=my_backtest_function,
        )
        return best_params, score

    best_params, score = asyncio.run(printed())
    assert len(seen) == 50
    assert tuple(best_params) == TECHNICAL_SPACE.names
    assert score == my_backtest_function(best_params) == max(my_backtest_function(params) for params in seen[:50])
    assert len(optimizer.last_result.trials) == optimizer.last_result.n_trials == 50


def test_async_sync_and_many_processes_give_the_same_trials():
    async def awaited(params):
        await asyncio.sleep(0.001 * (params["fast"] % 5))  # finishes out of order
        return hill(params)

    settings = OptimizerSettings(batch=4, n_initial=6)
    one = ParameterOptimizer(settings, seed=3).search(hill, config=config())
    two = asyncio.run(ParameterOptimizer(settings, seed=3).optimize(config=config(), backtest_fn=awaited))
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test modules
    try:
        three = ParameterOptimizer(settings, seed=3).search(hill, config=config(jobs=2))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert one.trials == two.trials == three.trials


def test_named_numbers_exceptions_and_strange_answers_become_trials():
    answers = iter([{"score": 1.0, "trades": 12, "note": "x"}, {"sharpe": 1.0}, "fine", None, float("nan")])

    def strange(params):
        given = next(answers, ZeroDivisionError("no trades"))
        if isinstance(given, Exception):
            raise given
        return given

    result = ParameterOptimizer(QUICK, seed=0).search(strange, config=config(n_trials=10))
    assert result.score == 1.0
    assert result.trials[0].figures == {"trades": 12.0}
    assert [trial.failed for trial in result.trials[:6]] == [
        None, "no 'score' among what the function gave (sharpe)", "the function gave no number but str",
        "the function gave None", "score is nan", "ZeroDivisionError: no trades",
    ]  # fmt: skip
    frame = result.to_frame()
    assert list(frame["number"]) == list(range(10))
    assert frame["score"].isna().sum() == 9
    assert result.convergence == pytest.approx([1.0] * 10)


def test_a_function_that_always_fails_is_named_after_the_first_design():
    calls = []

    def broken(params):
        calls.append(params)
        raise KeyError("colse")

    with pytest.raises(AIBacktraderError, match=r"failed for all .* trials of the first design \(KeyError: 'colse'\)"):
        ParameterOptimizer(seed=0).search(broken, config=config())
    assert len(calls) < 16


def test_the_same_question_is_answered_from_the_store_and_any_other_is_not():
    store, calls = Store(), []

    def counted(params):
        calls.append(params)
        return hill(params)

    known = config(data_fingerprint="abc", version="1")
    first = ParameterOptimizer(QUICK, seed=1, journal=store, store=store).search(counted, config=known)
    again = ParameterOptimizer(QUICK, seed=1, journal=store, store=store).search(counted, config=known)
    assert len(calls) == 16
    assert again.cached
    assert not first.cached
    assert (again.params, again.score, again.trials) == (first.params, first.score, first.trials)
    others = [
        (1, {"data_fingerprint": "abd"}), (1, {"version": "2"}), (1, {"regime": "bull"}), (1, {"symbol": "ETH/USDT"}),
        (1, {"timeframe": "1h"}), (1, {"n_trials": 17}), (1, {"space": {**RANGES, "slow": (5, 91)}}),
        (1, {"objective": "calmar"}), (1, {"strategy": "other"}), (1, {"maximize": False}), (2, {}),
    ]  # fmt: skip
    for seed, changes in others:
        optimizer = ParameterOptimizer(QUICK, seed=seed, journal=store, store=store)
        assert not optimizer.search(counted, config=dataclasses.replace(known, **changes)).cached, changes
    assert len({event.key for event in store.events}) == len(store.events) == 1 + len(others)


def test_without_data_and_version_nothing_is_answered_from_the_store(caplog):
    store = Store()
    with caplog.at_level("INFO", logger="ai_backtrader"):
        for _ in range(2):
            result = ParameterOptimizer(QUICK, journal=store, store=store).search(hill, config=config())
            assert not result.cached
            assert result.key is None
    assert "no cache for BTC/USDT; give config.data_fingerprint and config.version" in caplog.text
    assert all(event.key.startswith("unidentified:") for event in store.events)


def test_a_stored_answer_that_does_not_fit_is_searched_anew(caplog):
    store, known = Store(), config(data_fingerprint="abc", version="1")
    ParameterOptimizer(QUICK, journal=store).search(hill, config=known)
    store.events = [dataclasses.replace(store.events[0], parameters={"fast": 99, "slow": 1})]
    assert not ParameterOptimizer(QUICK, store=store).search(hill, config=known).cached
    assert "does not fit the question" in caplog.text


def test_the_ledger_counts_every_trial_once_with_its_sharpe_ratio():
    ledger, known = MemoryLedger(), config(data_fingerprint="abc", version="1")
    for _ in range(2):  # the same search again is no new look
        ParameterOptimizer(QUICK, ledger=ledger).search(
            lambda params: {"score": hill(params), "sharpe_per_bar": 0.01 * params["fast"]}, config=known
        )
    count = ledger.trials(TrialKey("abc", "technical"))
    assert count.n_trials == count.n_measured == 16
    assert count.sharpe_std > 0.0


def test_ctrl_c_keeps_the_best_so_far_and_the_rest_can_follow(tmp_path):
    whole = ParameterOptimizer(seed=2).search(hill, config=config())
    calls, file = [], tmp_path / "search.json"

    def interrupted(params):
        calls.append(params)
        if len(calls) == 11:
            raise KeyboardInterrupt
        return hill(params)

    interrupted.__qualname__, interrupted.__module__ = hill.__qualname__, hill.__module__
    optimizer = ParameterOptimizer(seed=2)
    part = optimizer.search(interrupted, config=config(), checkpoint=file)
    assert part.interrupted
    assert part.n_trials == 10
    assert part.trials == whole.trials[:10]
    assert part.score == max(trial.score for trial in part.trials)
    rest = optimizer.search(hill, config=config(), checkpoint=file, resume=True)
    assert rest.trials == whole.trials


def test_a_checkpoint_of_another_search_or_a_damaged_one_is_refused(tmp_path):
    file = tmp_path / "search.json"
    ParameterOptimizer(QUICK, seed=2).search(hill, config=config(), checkpoint=file)
    with pytest.raises(SettingsError, match=r"another search: seed was 2, is 3"):
        ParameterOptimizer(QUICK, seed=3).search(hill, config=config(), checkpoint=file, resume=True)
    file.write_text(file.read_text().replace("0.5", "0.6", 1))
    with pytest.raises(AIBacktraderError, match="does not match its SHA-256"):
        ParameterOptimizer(QUICK, seed=2).search(hill, config=config(), checkpoint=file, resume=True)


@pytest.mark.slow
def test_killed_and_resumed_it_gives_what_it_would_have_given(tmp_path):
    script, file = tmp_path / "killed.py", tmp_path / "search.json"
    script.write_text(
        textwrap.dedent("""
        import sys, time
        from ai_backtrader.parameter_optimizer import OptimizationConfig, ParameterOptimizer
        def hill(params):
            time.sleep(float(sys.argv[2]))
            return -abs(params["fast"] - 9) - abs(params["slow"] - 40) / 5
        config = OptimizationConfig(symbol="X", n_trials=20, space={"fast": (2, 30), "slow": (5, 90)})
        resume = sys.argv[1] == "resume"
        checkpoint = sys.argv[3] if len(sys.argv) > 3 else None
        result = ParameterOptimizer(seed=5).search(hill, config=config, checkpoint=checkpoint, resume=resume)
        print([(dict(t.params), t.score) for t in result.trials])
        """)
    )
    whole = subprocess.run([sys.executable, script, "new", "0"], check=True, capture_output=True, text=True)
    killed = subprocess.Popen([sys.executable, script, "new", "0.3", file])
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert file.exists()
    resumed = subprocess.run(
        [sys.executable, script, "resume", "0", file], check=True, capture_output=True, text=True, env=os.environ
    )
    assert resumed.stdout == whole.stdout


def test_progress_is_told_with_every_trial_and_the_loop_runs_on():
    told, ticks = [], []

    async def both():
        async def clock():
            while True:
                ticks.append(1)
                await asyncio.sleep(0)

        ticking = asyncio.create_task(clock())
        await ParameterOptimizer(QUICK).optimize(
            config=config(), backtest_fn=hill, on_trial=lambda trial, best: told.append((trial.number, best.score))
        )
        ticking.cancel()

    asyncio.run(both())
    assert [number for number, _ in told] == list(range(16))
    assert [score for _, score in told] == sorted(score for _, score in told)
    assert len(ticks) >= 16


def test_a_cancelled_search_leaves_the_best_so_far():
    optimizer = ParameterOptimizer(QUICK)

    async def slow(params):
        await asyncio.sleep(0.01)
        return hill(params)

    async def cut():
        await asyncio.wait_for(optimizer.optimize(config=config(n_trials=5000), backtest_fn=slow), timeout=0.3)

    with pytest.raises(TimeoutError, match=r"^$"):
        asyncio.run(cut())
    assert optimizer.last_result.interrupted
    assert 0 < optimizer.last_result.n_trials < 5000


def test_faults_of_a_question_are_told_together():
    with pytest.raises(SettingsError, match="6 faults") as caught:
        OptimizationConfig(symbol="", regime="boom", n_trials=0, space={"a": (1, 1)}, version="", jobs=0)
    assert any("regime must be one of" in fault for fault in caught.value.faults)
    assert any(fault.startswith("space: low must be smaller") for fault in caught.value.faults)
    assert config(regime="BULL").regime is Regime.BULL
    with pytest.raises(SettingsError, match="3 faults"):
        ParameterOptimizer().search(3, config=None, resume=True)
    with pytest.raises(SettingsError, match="write it as 'async def'"):
        ParameterOptimizer(QUICK).search(lambda params: asyncio.sleep(0), config=config())


def test_importing_the_room_opens_no_heavy_library():
    code = (
        "import sys, ai_backtrader.parameter_optimizer; "
        "print([n for n in ('skopt', 'sklearn', 'scipy.stats', 'torch') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
