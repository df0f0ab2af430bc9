"""Tables, JSON and the verdict of a run."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from ai_backtrader.reports import result_table, result_text, to_json, verdict
from ai_backtrader.reports.figures import bars_as_time, money, percent


def lines_of(text: str) -> dict[str, list[str]]:
    """First words of a line to the columns that follow it."""
    parts = [[part.strip() for part in line.strip().split("  ") if part.strip()] for line in text.splitlines()]
    return {row[0]: row[1:] for row in parts if row}


def test_the_table_shows_every_figure_that_a_reader_needs(report: dict[str, Any]) -> None:
    text = result_text(report)
    found, rows = report["performance"].get_analysis(), lines_of(text)
    assert "BTC perpetual, 600 bars (25 days)" in text
    assert rows["Start"] == ["2024-01-01 00:00 UTC"]
    assert rows["End"] == ["2024-01-25 23:00 UTC"]
    assert rows["Return"] == [percent(found.total_return), percent(found.buy_and_hold.total_return)]
    assert rows["Final equity"] == [money(found.final_equity), money(10_000 * (1 + found.buy_and_hold.total_return))]
    assert rows["Sharpe ratio"] == [f"{found.sharpe_ratio:.2f}", f"{found.buy_and_hold.sharpe_ratio:.2f}"]
    assert rows["Trades"] == [f"{found.trades} (+{found.trades_open} open)"]
    assert rows["Fees paid"] == [money(found.fees)]
    assert rows["Funding paid"] == [money(found.funding)]
    assert rows["Liquidations"] == [str(found.liquidations)]
    wanted = (
        *("CAGR", "Volatility, annual", "Sortino ratio", "Calmar ratio", "Largest drawdown", "Longest drawdown"),
        *("Exposure", "Time above 1x", "Win rate", "Best trade, of equity", "Worst trade, of equity"),
        *("Average trade, of equity", "Expectancy per trade", "Profit factor", "SQN", "Kelly fraction"),
        *("Highest margin ratio", "Margin ratio above 70%", "Rejected orders"),
    )
    assert all(name in rows for name in wanted)


def test_the_votes_table_names_each_source_with_its_reason(report: dict[str, Any]) -> None:
    rows = lines_of(result_text(report, width=120))
    assert rows["technical"] == ["–", "600", "2", "2", "596", "0", "0"]
    assert rows["rl"] == ["–", "0", "0", "0", "0", "600", "0", "not trained"]
    assert any(line.startswith("Votes in 600 decisions (2 buy, 2 sell, 596 hold, 0 vetoed)") for line in rows)


def test_the_table_fits_a_terminal_of_eighty_columns(report: dict[str, Any]) -> None:
    decisions = json.loads(json.dumps(report["decisions"].get_analysis()))
    decisions["sources"]["technical"] |= {"weight": 0.3, "votes": 34_944, "buys": 14_280, "sells": 12_409}
    decisions["sources"]["technical"] |= {"holds": 18_255, "abstentions": 34_944}
    decisions["sources"]["rl"] |= {"abstentions": 34_944, "most_common_reason": "not connected"}
    text = result_text(report | {"decisions": decisions}, width=80)
    assert max(len(line) for line in text.splitlines()) <= 80
    rows = lines_of(text)
    assert rows["technical"] == ["30%", "34,944", "14,280", "12,409", "18,255", "34,944", "0"]
    assert rows["rl"][-1] == "not connected"


def test_the_table_also_takes_plain_analyses_of_a_spot_run(report: dict[str, Any]) -> None:
    plain = {"performance": json.loads(json.dumps(report["performance"].get_analysis(), default=str))}
    plain["performance"] |= {name: report["performance"].get_analysis()[name] for name in ("start", "end")}
    text = result_text(plain)
    assert "Sharpe ratio" in text
    assert "margin ratio" not in text
    assert "Votes" not in text


def test_rich_prints_the_table_to_a_console(report: dict[str, Any]) -> None:
    written = io.StringIO()
    Console(file=written, width=100).print(result_table(report))
    assert "Buy and hold" in written.getvalue()


def test_json_is_strict_and_holds_the_analyses(report: dict[str, Any]) -> None:
    value = json.loads(json.dumps(to_json(report), allow_nan=False))
    assert set(value) == {"run", "performance", "liquidations", "decisions", "verdict"}
    assert value["performance"]["start"] == "2024-01-01T00:00:00Z"
    assert value["performance"]["buy_and_hold"]["cagr"] == report["performance"].get_analysis().buy_and_hold.cagr
    assert value["decisions"]["sources"]["technical"]["weight"] is None  # NaN: nobody said
    assert value["run"]["at"] == "2024-01-01T00:00:00Z"
    assert len(value["liquidations"]["events"]) == value["performance"]["liquidations"] > 0


def test_json_refuses_what_it_cannot_say(report: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="numbers, text, times, lists and mappings, got set"):
        to_json({"performance": report["performance"], "run": {"settings": {1, 2}}})


def test_a_run_without_trades_is_shown_with_dashes_and_not_judged(report_of: Callable[..., dict[str, Any]]) -> None:
    result = report_of([100.0, 101.0, 102.0], {})
    rows = lines_of(result_text(result))
    assert rows["Win rate"] == rows["SQN"] == rows["Best trade, of equity"] == ["–"]
    assert rows["Return"] == ["0.00 %", "+2.00 %"]
    assert verdict(result["performance"].get_analysis()) == (
        "Nothing to judge: no trade was made. Buy and hold returned +2.00 %."
    )
    assert to_json(result)["performance"]["win_rate"] is None


def test_a_run_of_one_bar_is_shown(report_of: Callable[..., dict[str, Any]]) -> None:
    result = report_of([100.0], {})
    assert "1 bar" in result_text(result)
    json.dumps(to_json(result), allow_nan=False)


@pytest.mark.parametrize(
    ("own", "market", "words"),
    [
        (
            (0.5, 1.0),
            (0.2, 0.4),
            "Beats buy and hold: return +50.00 % against +20.00 %, Sharpe ratio 1.00 against 0.40.",
        ),
        ((0.1, 0.3), (0.2, 0.4), "Does not beat buy and hold: return +10.00 % against +20.00 %, Sharpe"),
        ((0.1, 1.0), (0.2, 0.4), "Beats buy and hold by Sharpe ratio, not by return: "),
        ((0.3, 0.1), (0.2, 0.4), "Beats buy and hold by return, not by Sharpe ratio: "),
        ((0.2, 0.4), (0.2, 0.4), "Does not beat buy and hold: "),
        ((-0.03, -0.9), (-0.06, -0.1), "Loses money. Beats buy and hold by return, not by Sharpe ratio: "),
        ((-0.1, 0.3), (0.2, 0.4), "Does not beat buy and hold: return -10.00 %"),
        ((0.3, math.nan), (0.2, 0.4), "Beats buy and hold: return +30.00 % against +20.00 %."),
    ],
)
def test_the_verdict_says_what_the_figures_say(
    own: tuple[float, float], market: tuple[float, float], words: str
) -> None:
    figures = {"bars": 100, "trades": 50, "trades_open": 0, "total_return": own[0], "sharpe_ratio": own[1]}
    said = verdict(figures | {"buy_and_hold": {"total_return": market[0], "sharpe_ratio": market[1]}})
    assert said.startswith(words)
    assert "luck" not in said


def test_the_verdict_warns_of_few_trades(report: dict[str, Any]) -> None:
    assert "closed trade" in verdict(report["performance"].get_analysis())
    assert "too few to tell skill from luck" in result_text(report)


def test_figures_read_well() -> None:
    assert percent(0.12345) == "+12.35 %"
    assert percent(-0.00001) == "0.00 %"
    assert percent(math.nan) == "–"
    assert money(1234567.891) == "1,234,567.89"
    assert money(-math.inf) == "-∞"
    assert bars_as_time(48, 8766.0) == "48 bars (2 days)"
    assert bars_as_time(5, 8766.0) == "5 bars (5 h)"
    assert bars_as_time(1, 525_960.0) == "1 bar (1 min)"
    assert bars_as_time(51.4, math.nan) == "51.4 bars"
