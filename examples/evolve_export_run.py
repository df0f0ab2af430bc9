"""Evolve rules, prove the champion in Cerebro, write it down as a plain Backtrader file, and run that file.

Run it: ``python examples/evolve_export_run.py [champion.py]``
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import backtrader as bt

from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.strategies import export_source, prove
from ai_backtrader.strategy_evolver import evolve


def strategy_of(path: Path) -> type[bt.Strategy]:
    """The strategy class in a file of one's own."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return next(
        value for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, bt.Strategy) and value.__module__ == path.stem
    )  # fmt: skip


def main() -> None:
    """Search, prove, export, run."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("champion.py")
    data = load_sample().head(3_000)
    result = evolve(data, n_generations=5, population=30, seed=1, commission=0.00005)
    print(result.verdict)
    best = result.best
    print(best.chromosome.describe())

    proof = prove(data, best.chromosome, commission=0.00005)
    print("the same in Cerebro, to the last bit:", proof.difference is None, f"({proof.fills} fills)")

    path.write_text(export_source(best.chromosome, trials=result.evaluations), encoding="utf-8")
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcommission(commission=0.00005)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(strategy_of(path))
    cerebro.run()
    print(f"{path} on Backtrader's own broker: {cerebro.broker.getvalue():,.2f} of 10,000")


if __name__ == "__main__":
    main()
