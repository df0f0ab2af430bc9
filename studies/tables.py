"""The study's page: its tables, filled from the stored figures alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from classics import CLASSICS
from markets import MARKETS

from ai_backtrader.errors import AIBacktraderError

__all__ = ["FILES", "fill", "read_results", "tables", "write_results"]

FILES = ("summary", "folds", "switched", "found")
"""CSV files of the results, by name."""

_TITLES = {
    **{name: title for name, (_, title) in CLASSICS.items()},
    "technical": "Technical strategy, optimised", "ai": "**AIStrategy**", "fund": "**The fund**",
}  # fmt: skip
_BEST = {"best/ai": "**AIStrategy**", "best/fund": "**The fund**"}
_SYSTEMS = {
    "technical": "Technical source and strategy", "evolved": "Evolved strategies", "rl": "Learning agent",
    "online": "Online learner", "adaptation": "Adaptation", "leverage": "Leverage manager", "allocator": "Allocator",
}  # fmt: skip
_BLOCK = re.compile(r"(<!-- study: (\w[\w-]*) -->\n).*?(<!-- end -->)", re.DOTALL)


def write_results(results: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Write the figures, ten significant digits."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        results[name].to_csv(folder / f"{name}.csv", index=False, float_format="%.10g")


def read_results(folder: Path) -> dict[str, pd.DataFrame]:
    """Figures as they were written."""
    return {name: pd.read_csv(folder / f"{name}.csv") for name in FILES}


def fill(page: str, results: Mapping[str, pd.DataFrame]) -> str:
    """The page with every block filled anew.

    Raises
    ------
    AIBacktraderError
        If the page asks for a block that there is not.
    """
    blocks = tables(results)
    unknown = {name for _, name, _ in _BLOCK.findall(page)} - blocks.keys()
    if unknown:
        raise AIBacktraderError(f"the page asks for {', '.join(sorted(unknown))}; there are {', '.join(blocks)}")
    return _BLOCK.sub(lambda found: f"{found[1]}{blocks[found[2]]}\n{found[3]}", page)


def tables(results: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Blocks of the page by name, in Markdown."""
    names = list(dict.fromkeys(results["summary"]["market"]))
    return {
        "markets": _markets(results, names),
        "verdict": _verdict(results["summary"], names),
        **{f"results-{name}": _results(results["summary"], name) for name in names},
        "switched": _switched(results["switched"], names, "passed"),
        "switched-fund": _switched(results["switched"], names, "passed", account="fund"),
        "switched-best": _switched(results["switched"], names, "best"),
        "found": _found(results["found"], names),
    }  # fmt: skip


def _markets(results: Mapping[str, pd.DataFrame], names: Iterable[str]) -> str:
    rows = []
    for name in names:
        market, found = MARKETS[name], results["found"].query("market == @name")
        rows.append(
            [
                market.title, market.kind, market.rule or "as in the file", f"{market.design:,}",
                f"{len(found)} of {found['bars'].iloc[0]:,}",
                f"{found['first'].iloc[0][:10]} to {found['last'].iloc[-1][:10]}", market.told,
            ]
        )  # fmt: skip
    return _table(["Market", "Kind", "Bars", "Design", "Folds", "Walked", "Costs and limits"], "llrrrll"[:7], rows)


def _verdict(summary: pd.DataFrame, names: Iterable[str]) -> str:
    lines = [_headline(summary), ""]
    for name in names:
        rows = summary.query("market == @name").set_index("strategy")
        held = rows.loc["buy_and_hold"]
        told = [_sentence(words, rows.loc[key], held) for key, words in (("ai", "AIStrategy"), ("fund", "the fund"))]
        lines.append(f"- **{MARKETS[name].title}**: {'; '.join(told)}.")
    return "\n".join(lines)


def _headline(summary: pd.DataFrame) -> str:
    """How many of all that stand in the tables beat holding beyond doubt."""
    rows = summary[summary["strategy"].isin([*_TITLES, *_BEST]) & (summary["strategy"] != "buy_and_hold")]
    proven = sum(_proven(row) for _, row in rows.iterrows())
    told = "None" if not proven else f"{proven}"
    return (
        f"**{told} of {len(rows)} accounts in {summary['market'].nunique()} markets beat buy and hold beyond doubt** "
        "(a difference of the Sharpe ratios whose interval lies above 0, and a deflated Sharpe ratio of 0.95 or more)."
    )


def _proven(own: Any) -> bool:
    return bool(own["sharpe_gap_low"] > 0.0 and own["deflated"] >= 0.95)


def _sentence(words: str, own: Any, held: Any) -> str:
    better, richer = own["sharpe_gap"] > 0.0, own["total_return"] > held["total_return"]
    word = "beats" if _proven(own) else "is ahead of, not provably," if better else "does not beat"
    more = "" if better == richer else f", though it earned {'more' if richer else 'less'}"
    return (
        f"{words} {word} holding for its risk{more} ({_percent(own['total_return'])} at a Sharpe ratio of "
        f"{_number(own['sharpe'])}, against {_percent(held['total_return'])} at {_number(held['sharpe'])}; ahead in "
        f"{own['ahead']} of {own['folds']} folds)"
    )


def _results(summary: pd.DataFrame, name: str) -> str:
    rows = summary.query("market == @name").set_index("strategy")
    lines = [_line(title, rows.loc[key]) for key, title in _TITLES.items()]
    lines.append(["*The best found votes, passed or not:*", *[""] * 10])
    lines += [_line(title, rows.loc[key]) for key, title in _BEST.items()]
    head = [
        "", "Return", "Sharpe", "by fold", "Drawdown", "Trades", "Liquidated", "Fees", "Funding", "Deflated",
        "Ahead", "Sharpe less holding's",
    ]  # fmt: skip
    return _table(head, "lrrrrrrrrrrr", [[*line, *[""] * (len(head) - len(line))] for line in lines])


def _line(title: str, row: Any) -> list[str]:
    apart = f"{row['sharpe_gap']:+.2f} ({row['sharpe_gap_low']:+.2f} … {row['sharpe_gap_high']:+.2f})"
    same = row.name == "buy_and_hold"
    folds = "–" if math.isnan(row["sharpe_low"]) else f"{row['sharpe_low']:.2f} … {row['sharpe_high']:.2f}"
    deflated = "–" if math.isnan(row["deflated"]) else f"{row['deflated']:.2f} ({row['n_trials']:,})"
    return [
        title, _percent(row["total_return"]), _number(row["sharpe"]), folds,
        _percent(row["max_drawdown"], signed=False), f"{row['trades']:,}", f"{row['liquidations']:,}",
        _percent(row["fees"], signed=False), _percent(row["funding"]), deflated,
        "" if same else f"{row['ahead']} of {row['folds']}", "" if same else apart,
    ]  # fmt: skip


def _switched(switched: pd.DataFrame, names: Iterable[str], admitted: str, account: str = "ai") -> str:
    rows = switched.query("admitted == @admitted and account == @account").set_index(["system", "market"])
    systems = list(dict.fromkeys(rows.index.get_level_values("system")))
    known = [name for name in names if name in rows.index.get_level_values("market")]
    lines = [[_SYSTEMS[system], *(_gain(rows.loc[(system, name)]) for name in known)] for system in systems]
    if admitted == "passed":
        lines.append(["LLM advisor", *["absent"] * len(known)])
    return _table(["Switched on it adds", *(MARKETS[name].title for name in known)], "l" + "r" * len(known), lines)


def _gain(row: Any) -> str:
    if row["same"]:
        return "nothing: the same trades"
    low, high = 100.0 * row["mean_gap_low"], 100.0 * row["mean_gap_high"]
    return f"{_percent(row['gain'])}, Sharpe {row['sharpe_gain']:+.2f} ({low:+.1f} … {high:+.1f} % a year)"


def _found(found: pd.DataFrame, names: Iterable[str]) -> str:
    rows = []
    for name in names:
        own = found.query("market == @name").sum(numeric_only=True)
        told = [
            f"{own[passed]:.0f} of {own[made]:.0f}"
            for passed, made in (
                ("searches_passed", "searches"), ("champions_passed", "champions"), ("agents_passed", "agents"),
                ("adapted_passed", "adapted"),
            )
        ]  # fmt: skip
        rows.append(
            [
                MARKETS[name].title, *told[:3], f"{own['adaptations']:.0f}", told[3], f"{own['weights_learnt']:.0f}",
                f"{own['trials']:,.0f}", f"{own['search_seconds'] / 60.0:.1f}", f"{own['walk_seconds'] / 60.0:.1f}",
            ]
        )  # fmt: skip
    head = [
        "Market", "Parameter searches passed", "Evolved strategies passed", "Agents passed", "Searches on the way",
        "of theirs passed", "Folds with learnt weights", "Trials", "CPU min. searching", "walking",
    ]  # fmt: skip
    return _table(head, "lrrrrrrrrr", rows)


def _table(head: list[str], align: str, rows: Iterable[list[str]]) -> str:
    rule = ["---:" if side == "r" else "---" for side in align]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _percent(fraction: float, *, signed: bool = True) -> str:
    if math.isnan(fraction):
        return "–"
    return f"{100.0 * fraction:{'+' if signed else ''}.1f} %"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
