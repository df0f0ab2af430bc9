"""The ``compare`` command: strategies of files beside AIStrategy and holding, evolved ones with their proofs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ai_backtrader.cli.files import load_data
from ai_backtrader.cli.options import (
    AsJson,
    Cash,
    Commission,
    DataFile,
    Funding,
    LiquidationFee,
    MaintenanceRate,
    MaxLeverage,
    Quiet,
    Repair,
    Report,
    RiskBudget,
    Seed,
    Slippage,
    Symbol,
)
from ai_backtrader.cli.output import print_json, progress_bar

__all__ = ["compare", "run_compare", "strategies_of"]


def compare(
    data: DataFile,
    strategies: Annotated[
        list[str] | None,
        typer.Argument(
            help="FILE.py or FILE.py:Class with a strategy (it is run), or FILE.json: what `evolve --json` printed, "
            "for its champions, or one chromosome."
        ),
    ] = None,
    ai: Annotated[bool, typer.Option(help="AIStrategy beside them.")] = True,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Everything that was tried before these were chosen; left out: these, and what the searches that "
            "found evolved ones looked at."
        ),
    ] = None,
    symbol: Symbol = None,
    repair: Repair = None,
    cash: Cash = 10_000.0,
    commission: Commission = None,
    slippage: Slippage = 0.0001,
    max_leverage: MaxLeverage = 10.0,
    risk_budget: RiskBudget = 0.02,
    maintenance_rate: MaintenanceRate = 0.005,
    liquidation_fee: LiquidationFee = 0.005,
    funding: Funding = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    report: Report = None,
    quiet: Quiet = False,
) -> None:
    """Set strategies beside each other, AIStrategy and holding: figures, evidence, and proofs of the evolved ones."""
    from ai_backtrader.reports.html.saving import write_comparison

    results, comparison = run_compare(
        load_data(data, symbol, repair), strategies or (), ai=ai, n_trials=trials, cash=cash,
        commission=0.0005 if commission is None else commission, slippage=slippage, max_leverage=max_leverage,
        risk_budget=risk_budget, maintenance_rate=maintenance_rate, liquidation_fee=liquidation_fee, funding=funding,
        seed=seed, show=not (quiet or as_json),
    )  # fmt: skip
    if as_json:
        print_json(comparison.to_dict())
    else:
        Console().print(comparison.to_text(), highlight=False, markup=False, soft_wrap=True, end="")
    if report is not None:
        write_comparison(comparison, results, report)
        if not as_json:
            Console().print(f"Report: {report}", highlight=False)


def run_compare(
    data: Any,
    strategies: Sequence[str],
    *,
    ai: bool = True,
    n_trials: int | None = None,
    cash: float = 10_000.0,
    commission: float = 0.0005,
    slippage: float = 0.0001,
    max_leverage: float = 10.0,
    risk_budget: float = 0.02,
    maintenance_rate: float = 0.005,
    liquidation_fee: float = 0.005,
    funding: float | None = None,
    seed: int = 0,
    show: bool = True,
) -> tuple[dict[str, Any], Any]:
    """Run each strategy in Cerebro on a broker of its own with the same rules, and compare them.

    Parameters
    ----------
    data
        Market data.
    strategies
        As the command takes them.
    ai
        Whether AIStrategy runs, too.
    n_trials
        As for :func:`~ai_backtrader.analyzers.compare`.
    cash, commission, slippage, max_leverage, maintenance_rate, liquidation_fee, funding
        Of the brokers.
    risk_budget, seed
        Of AIStrategy; the seed is the bootstrap's, too.
    show
        Whether to draw progress.

    Returns
    -------
    dict, Comparison
        What Cerebro ran, by name; how it compares.

    Raises
    ------
    SettingsError
        If there is nothing to compare, or a file holds no strategy.
    """
    import backtrader as bt

    from ai_backtrader.analyzers import Performance
    from ai_backtrader.analyzers import compare as compared
    from ai_backtrader.brokers import LeverageBroker
    from ai_backtrader.cli.progress import Progress
    from ai_backtrader.datafeeds import PerpetualData
    from ai_backtrader.market import MaintenanceTiers
    from ai_backtrader.strategies import AIStrategy

    chosen: dict[str, tuple[Any, dict[str, Any]]] = {}
    if ai:
        limits = {"risk_budget": risk_budget, "max_leverage": max_leverage, "slippage": slippage, "seed": seed}
        chosen["AIStrategy"] = (AIStrategy, limits)
    chosen |= {name: (strategy, {}) for name, strategy in strategies_of(strategies).items()}
    results: dict[str, Any] = {}
    for name, (strategy, params) in chosen.items():
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.broker = LeverageBroker(
            max_leverage=max_leverage, tiers=MaintenanceTiers.flat(maintenance_rate), liquidation_fee=liquidation_fee,
            funding=funding,
        )  # fmt: skip
        cerebro.broker.setcash(cash)
        cerebro.broker.setcommission(commission=commission)
        cerebro.broker.set_slippage_perc(slippage)
        cerebro.adddata(PerpetualData(dataname=data))
        cerebro.addstrategy(strategy, **params)
        cerebro.addanalyzer(Performance)
        with progress_bar(name, len(data), show=show) as advance:
            cerebro.addanalyzer(Progress, callback=advance)
            results[name] = cerebro.run()[0]
    return results, compared(results, n_trials=n_trials, seed=seed)


def strategies_of(given: Sequence[str]) -> dict[str, Any]:
    """Strategy classes by name, of two with one name with the file's: of ``FILE.py``, ``FILE.py:Class``, ``FILE.json``.

    Raises
    ------
    SettingsError
        If a file cannot be read, or a strategy is given twice.
    """
    from ai_backtrader.errors import SettingsError

    found: dict[str, Any] = {}
    for text in given:
        for name, strategy in (_evolved(Path(text)) if text.endswith(".json") else _own(text)).items():
            told = f"{name} ({Path(text).name})" if name in found else name
            if told in found:
                raise SettingsError("compare", [f"{text}: {name} is there already; give each strategy once"])
            found[told] = strategy
    return found


def _own(text: str) -> dict[str, Any]:
    from ai_backtrader.audit import load_strategy

    path, _, name = text.partition(":") if ".py:" in text else (text, "", "")
    strategy = load_strategy(Path(path), name or None)
    return {strategy.__name__: strategy}


def _evolved(path: Path) -> dict[str, Any]:
    from ai_backtrader.errors import AIBacktraderError, SettingsError
    from ai_backtrader.rules import StrategyChromosome
    from ai_backtrader.strategies import compile_strategy

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError("compare", [f"{path}: is no JSON ({error})"]) from error
    champions = document.get("champions") if isinstance(document, dict) else None
    held = [document] if champions is None else [champion.get("chromosome") for champion in champions]
    if not held:
        raise SettingsError("compare", [f"{path}: the search has no champion"])
    try:
        made = [compile_strategy(StrategyChromosome.from_json(json.dumps(one))) for one in held]
    except AIBacktraderError as error:
        raise SettingsError("compare", [f"{path}: holds no evolved strategy ({error})"]) from error
    searched = document.get("evaluations")
    if champions is not None and isinstance(searched, int) and searched > len(made):
        made[0].searched_trials = searched - len(made) + 1  # all champions together are what one search looked at
    return {strategy.__name__: strategy for strategy in made}
