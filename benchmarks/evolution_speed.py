"""One evolution with three engines as fitness, in one run: the compiled simulation, Cerebro, vectorbt. CPU time.

    python benchmarks/evolution_speed.py [--data FILE.csv.gz] [--bars 10000] [--cerebro 8]
        [--vectorbt PYTHON] [--growth]

The search is real: populations of 50 over 20 generations, bred on the Sharpe ratio. Ours evaluates it from nothing
(indicators, conditions, runs), the best of three; the kernels are in the disk cache, as after any first run. In the
race it is made again between Cerebro's runs, for the machine is not equally fast all the time. Cerebro
re-runs a sample of the same chromosomes, once as usual (PandasData, observers, TimeReturn), where the Sharpe ratio must
be the same, and once with our feed, which loads arrays at once, where every fill must be equal bit for bit; its time
for the whole search is the sample's mean times the number of evaluations, so extrapolated. vectorbt (of another
environment, given by its Python) cannot place our brackets: it runs the same chromosomes without stops, on ready-made
signals that it is not charged for, with the same sizes and fees, and must arrive at the same Sharpe ratios where no
order is refused; ours runs those too, signals included.

Python's garbage collector stays on, but does not walk through what was loaded before the race: Numba and pandas are
280,000 objects, and a full pass over them takes 0.16 s, more than the whole search, and falls on whoever comes at that
moment.

``--growth``: 1,000 to 1,000,000 bars and 50 to 50,000 chromosomes, the peak memory of each in a process of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import multiprocessing
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.evidence import sharpe_ratio
from ai_backtrader.market import MarketData
from ai_backtrader.rules import HoldGene, SeriesBank, StrategyChromosome, section_signal, strategy_period
from ai_backtrader.simulation import Simulator
from ai_backtrader.strategies import compile_strategy, run_in_cerebro
from ai_backtrader.strategy_evolver import Evolution, EvolverSettings, chromosomes

GENERATIONS, POPULATION, SEED = 20, 50, 1


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call in this process, all threads, and what it gives."""
    start = time.process_time()
    given = work()
    return time.process_time() - start, given


def search(simulator: Simulator) -> tuple[list[list[StrategyChromosome]], float, float]:
    """Evolve; gives the populations evaluated, the CPU seconds of their evaluation and of the breeding."""
    evolution = Evolution(chromosomes(), EvolverSettings(population=POPULATION), rng=np.random.default_rng(SEED))
    populations, evaluating, breeding = [], 0.0, 0.0
    for _ in range(GENERATIONS):
        spent, asked = cpu(evolution.ask)
        breeding += spent
        spent, statistics = cpu(lambda asked=asked: simulator.run_many(asked, threads=1))
        evaluating += spent
        spent, _ = cpu(lambda statistics=statistics: evolution.tell(statistics["sharpe"].tolist()))
        breeding += spent
        populations.append(list(asked))
    return populations, evaluating, breeding


def usual_cerebro(frame: pd.DataFrame, data: MarketData, chromosome: StrategyChromosome) -> float:
    """Sharpe ratio by Cerebro as most people set it up: PandasData, default observers and broker, one analyzer."""
    cerebro = bt.Cerebro()
    clock = {"timeframe": bt.TimeFrame.Minutes, "compression": data.bar_seconds // 60}
    cerebro.adddata(bt.feeds.PandasData(dataname=frame, **clock))
    cerebro.broker.setcash(10_000.0)
    cerebro.broker.setcommission(commission=0.0005)
    cerebro.addstrategy(compile_strategy(chromosome))
    cerebro.addanalyzer(bt.analyzers.TimeReturn, _name="returns", **clock)
    returns = np.array(list(cerebro.run()[0].analyzers.returns.get_analysis().values()))
    # Shorts without margin may owe money: after a bar that closed at zero or below a return has no meaning.
    solvent = np.concatenate(([True], np.cumprod(1.0 + returns)[:-1] > 0.0))
    return sharpe_ratio(returns[solvent], bars_per_year=data.bars_per_year)


def best_search(data: MarketData) -> tuple[float, float]:
    """CPU seconds of evaluation and breeding, of the best of three searches."""
    runs = [search(Simulator(data, funding=0.0)) for _ in range(3)]
    return min(((evaluating, breeding) for _, evaluating, breeding in runs), key=sum)


def race_cerebro(
    data: MarketData, flat: list[StrategyChromosome], sample: int
) -> tuple[float, float, int, list[tuple[float, float]]]:
    """Mean CPU seconds of an evaluation in Cerebro, usual and with our feed, over a sample; its fills; our searches.

    Ours are made between Cerebro's runs, at a quarter of them each: the machine is not equally fast all the time.
    """
    picked = [flat[k] for k in np.linspace(0, len(flat) - 1, sample).astype(int)]
    simulator = Simulator(data, funding=0.0)
    frame = data.to_frame()[["open", "high", "low", "close", "volume"]].tz_localize(None)
    usual, ours, fills = 0.0, 0.0, 0
    searches = []
    for place, chromosome in enumerate(picked):
        if place % max(1, sample // 4) == 0:
            searches.append(best_search(data))
        compiled = simulator.run(chromosome)
        spent, sharpe = cpu(lambda chromosome=chromosome: usual_cerebro(frame, data, chromosome))
        np.testing.assert_allclose(sharpe, compiled.metrics["sharpe"], rtol=1e-9)
        usual += spent
        spent, reference = cpu(lambda chromosome=chromosome: run_in_cerebro(data, chromosome, funding=0.0))
        difference = compiled.first_difference(reference)
        assert difference is None, difference
        ours += spent
        fills += len(reference.fills)
    return usual / sample, ours / sample, fills, searches


def without_brackets(chromosome: StrategyChromosome) -> StrategyChromosome:
    """The same rules, left by their exits only."""
    risk = dataclasses.replace(chromosome.risk, stop_atr=0.0, take_profit_atr=0.0, trailing_atr=0.0)
    return dataclasses.replace(chromosome, risk=risk)


def race_vectorbt(python: str, data: MarketData, flat: list[StrategyChromosome]) -> tuple[float, float, float, int]:
    """CPU seconds without brackets: vectorbt, ours from nothing, ours with ready signals; and how many chromosomes."""
    # vectorbt counts no k-of-n exits with hold genes; those few are left out for both.
    plain = [without_brackets(c) for c in dict.fromkeys(flat)]
    plain = [c for c in plain if c.required.exit <= 1]
    bank = SeriesBank(data)
    columns: dict[str, list[Any]] = {"long": [], "short": [], "exit": [], "hold": [], "size": [], "reverse": []}
    for chromosome in plain:
        warm = np.arange(len(data)) >= strategy_period(chromosome) - 1
        need = chromosome.required
        if need.filters:
            warm &= section_signal(bank, chromosome.filters, need.filters)
        columns["long"].append(section_signal(bank, chromosome.entry_long, need.entry_long) & warm)
        columns["short"].append(section_signal(bank, chromosome.entry_short, need.entry_short) & warm)
        columns["exit"].append(section_signal(bank, chromosome.exit, 1))
        holds = [gene.bars for gene in chromosome.exit.genes if isinstance(gene, HoldGene)]
        columns["hold"].append(min(holds, default=1_000_000_000))
        columns["size"].append(chromosome.risk.position_size)
        columns["reverse"].append(chromosome.risk.reverse)
    del bank
    gc.collect()  # what Cerebro left behind
    times = []
    for _ in range(3):  # the first is given new memory by the system, as the first search of a process is
        simulator = Simulator(data, funding=0.0)
        ours, statistics = cpu(lambda simulator=simulator: simulator.run_many(plain, threads=1))
        ready, _ = cpu(lambda simulator=simulator: simulator.run_many(plain, threads=1))
        times.append((ours, ready))
    ours, ready = (min(column) for column in zip(*times, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        given, taken = Path(folder) / "in.npz", Path(folder) / "out.npz"
        arrays = {name: np.array(values) for name, values in columns.items()}
        np.savez(given, open=data.open, close=data.close, annual=data.bars_per_year, **arrays)
        script = Path(__file__).with_name("evolution_speed_vectorbt.py")
        subprocess.run([python, str(script), str(given), str(taken)], check=True)  # noqa: S603  # our own script
        answer = np.load(taken)
        spent, sharpe = float(answer["cpu"]), answer["sharpe"]
    # vectorbt shrinks an order that its free cash cannot pay, Backtrader refuses it or lets the short run on.
    traded = (statistics["trades"] > 0) & (statistics["rejected"] == 0)
    equal = np.isclose(sharpe[traded], statistics["sharpe"][traded], rtol=1e-6, atol=1e-9)
    assert equal.mean() > 0.98, f"only {equal.sum()} of {traded.sum()} Sharpe ratios are equal"
    return spent, ours, ready, len(plain)


def random_walk(bars: int) -> MarketData:
    """Hourly bars of a random walk with fat tails."""
    rng = np.random.default_rng(1)
    close = 100.0 * np.exp(np.cumsum(np.clip(rng.standard_t(4, bars) * 0.004, -0.1, 0.1)))
    open_ = np.concatenate([[100.0], close[:-1]])
    spread = np.exp(np.abs(rng.normal(0.0, 0.003, (2, bars))))
    frame = {
        "open": open_,
        "high": np.maximum(open_, close) * spread[0],
        "low": np.minimum(open_, close) / spread[1],
        "close": close,
        "volume": rng.lognormal(8.0, 1.0, bars),
    }
    index = pd.date_range("1910-01-01", periods=bars, freq="h", tz="UTC")
    return MarketData.from_frame(pd.DataFrame(frame, index=index), symbol="WALK", earliest="1900-01-01")


def grow(bars: int, count: int) -> None:
    """One size, in a process of its own: the random first generation, from nothing and again."""
    data = random_walk(bars)
    rng = np.random.default_rng(SEED)
    population = [StrategyChromosome.random(rng) for _ in range(count)]
    Simulator(data.head(500)).run_many(population[:2], threads=1)  # kernels from the disk cache
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    simulator = Simulator(data)
    first, _ = cpu(lambda: simulator.run_many(population, threads=1))
    again, _ = cpu(lambda: simulator.run_many(population, threads=1))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    each = 1e9 / bars / count
    print(
        f"{bars:>9,} bars x {count:>6,}: first {first:8.3f} s ({first * each:7.2f} ns a bar and rule), "
        f"again {again:8.3f} s ({again * each:6.2f} ns), {peak:7.0f} MiB more",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="CSV of bars; the sample that ships with the package without it")
    parser.add_argument("--bars", type=int, default=10_000)
    parser.add_argument("--cerebro", type=int, default=8, help="chromosomes to run in Cerebro; 0 for none")
    parser.add_argument("--vectorbt", help="Python of an environment with vectorbt")
    parser.add_argument("--growth", action="store_true")
    arguments = parser.parse_args()
    data = load_sample() if arguments.data is None else MarketData.from_csv(arguments.data)
    data = data.head(min(arguments.bars, len(data)))
    started = time.perf_counter()
    search(Simulator(data, funding=0.0))
    print(f"first search of the process, kernels loaded or compiled: {time.perf_counter() - started:.2f} s")

    gc.collect()
    gc.freeze()
    runs = [search(Simulator(data, funding=0.0)) for _ in range(3)]
    populations, evaluating, breeding = min(runs, key=lambda run: run[1])
    flat = [chromosome for population in populations for chromosome in population]
    again, statistics = cpu(lambda: Simulator(data, funding=0.0).run_many(flat, threads=1))
    print(
        f"{len(data):,} bars of {data.symbol}: {len(flat)} evaluations ({len(set(flat))} different), "
        f"{int(statistics['trades'].sum()):,} trades, best Sharpe in sample {np.nanmax(statistics['sharpe']):.2f}\n"
        f"compiled: evaluation {evaluating:.3f} s CPU ({evaluating / len(flat) * 1e6:.0f} us each), in one call "
        f"{again:.3f} s; breeding {breeding:.3f} s"
    )
    if arguments.cerebro:
        usual, fast, fills, searches = race_cerebro(data, flat, arguments.cerebro)
        evaluating, breeding = sorted(searches, key=sum)[len(searches) // 2]
        print(
            f"Cerebro, {arguments.cerebro} of them ({fills:,} fills, equal bit for bit), for {len(flat)}; between them "
            f"ours once more, at {len(searches)} moments (best of three, their median): {evaluating:.3f} s, breeding "
            f"{breeding:.3f} s"
        )
        for name, each in (("usual feed, observers, TimeReturn", usual), ("our feed, no observers", fast)):
            whole = each * len(flat)
            print(
                f"  {name}: {each:.3f} s each, {whole:,.0f} s: {whole / evaluating:,.0f} times the evaluation, "
                f"{(whole + breeding) / (evaluating + breeding):,.0f} times with breeding on both sides"
            )
    if arguments.vectorbt:
        theirs, ours, ready, count = race_vectorbt(arguments.vectorbt, data, flat)
        print(
            f"{count} without brackets, same Sharpe ratios: vectorbt {theirs:.2f} s on ready signals; compiled "
            f"{ready:.3f} s on ready signals ({theirs / ready:,.0f} times), {ours:.3f} s from nothing "
            f"({theirs / ours:,.0f} times)"
        )
    if arguments.growth:
        sizes = [(bars, 50) for bars in (1_000, 10_000, 100_000, 1_000_000)]
        sizes += [(10_000, count) for count in (500, 5_000, 50_000)]
        context = multiprocessing.get_context("spawn")
        for size in sizes:
            process = context.Process(target=grow, args=size)
            process.start()
            process.join()


if __name__ == "__main__":
    main()
