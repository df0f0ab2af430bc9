"""The commands that look at a strategy of the user's: ``audit`` and ``lookahead``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ai_backtrader.cli.files import load_data
from ai_backtrader.cli.options import (
    AsJson,
    Cash,
    Commission,
    DataFiles,
    Funding,
    LiquidationFee,
    MaintenanceRate,
    Params,
    Plot,
    Repair,
    Slippage,
    StrategyClass,
    StrategyFile,
)
from ai_backtrader.cli.output import print_json

__all__ = ["audit", "lookahead"]


def audit(
    strategy_file: StrategyFile,
    data: DataFiles,
    strategy: StrategyClass = None,
    param: Params = None,
    leverage: Annotated[float, typer.Option(help="As in setcommission(leverage=…).")] = 1.0,
    repair: Repair = None,
    cash: Cash = 10_000.0,
    commission: Commission = None,
    slippage: Slippage = 0.0,
    maintenance_rate: MaintenanceRate = 0.005,
    liquidation_fee: LiquidationFee = 0.005,
    funding: Funding = None,
    as_json: AsJson = False,
    plot: Plot = None,
    html: Annotated[Path | None, typer.Option(help="Write the report to this HTML file.")] = None,
    fail_on_findings: Annotated[bool, typer.Option(help="Leave with exit code 3 when something is found.")] = False,
) -> None:
    """Say what Backtrader's own broker hides about a strategy of yours: it runs unchanged on both brokers."""
    from ai_backtrader.audit import audit_strategy, load_strategy, save_audit_page, save_audit_plot
    from ai_backtrader.cli.audit import audit_table, parse_params
    from ai_backtrader.market import MaintenanceTiers

    params = parse_params(param or [])
    chosen = load_strategy(strategy_file, strategy)
    report = audit_strategy(
        chosen, [load_data(path, None, repair) for path in data],
        leverage=leverage, cash=cash, commission=0.0005 if commission is None else commission, slippage=slippage,
        tiers=MaintenanceTiers.flat(maintenance_rate), liquidation_fee=liquidation_fee, funding=funding, params=params,
    )  # fmt: skip
    if as_json:
        print_json(report.to_dict())
    else:
        Console().print(audit_table(report))
    for path, save, word in ((plot, save_audit_plot, "Picture"), (html, save_audit_page, "Page")):
        if path is not None:
            save(report, path)
            if not as_json:
                Console().print(f"{word}: {path}", highlight=False)
    if fail_on_findings and not report.clean:
        raise typer.Exit(3)


def lookahead(
    strategy_file: StrategyFile,
    data: DataFiles,
    strategy: StrategyClass = None,
    param: Params = None,
    repair: Repair = None,
    as_json: AsJson = False,
    fail_on_findings: Annotated[
        bool, typer.Option(help="Leave with exit code 3 unless the strategy is clean.")
    ] = False,
) -> None:
    """Say whether a strategy of yours knows the future, and at which order that shows first."""
    from ai_backtrader.audit import check_lookahead, load_strategy
    from ai_backtrader.cli.audit import parse_params
    from ai_backtrader.cli.lookahead import lookahead_table

    params = parse_params(param or [])
    chosen = load_strategy(strategy_file, strategy)
    report = check_lookahead(chosen, [load_data(path, None, repair) for path in data], **params)
    if as_json:
        print_json(report.to_dict())
    else:
        Console().print(lookahead_table(report), highlight=False)
    if fail_on_findings and not report.clean:
        raise typer.Exit(3)
