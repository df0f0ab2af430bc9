"""The advisor for the terminal: does the model server answer, which models has it, what does one answer look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ai_backtrader.cli.options import AsJson
from ai_backtrader.cli.output import print_json

if TYPE_CHECKING:
    from ai_backtrader.llm_advisor import Advisor

__all__ = ["advisor_app", "check_advisor"]

advisor_app = typer.Typer(help="The language model that may object to a trade.", no_args_is_help=True)

Url = Annotated[str | None, typer.Option("--url", help="Of the server; left out: AI_BACKTRADER_LLM_URL, or Ollama's.")]
Model = Annotated[str | None, typer.Option(help="Its name; left out: AI_BACKTRADER_LLM_MODEL, or llama3.2.")]
Api = Annotated[str | None, typer.Option(help="'ollama' or 'openai' (llama.cpp, vLLM, LM Studio).")]
Timeout = Annotated[float | None, typer.Option(help="Seconds for the answer; a model that must be loaded needs more.")]


@advisor_app.callback()
def _group() -> None:
    """Keep `check` a command of its own, though it is the only one."""


@advisor_app.command("check")
def check(
    url: Url = None, model: Model = None, api: Api = None, timeout: Timeout = None, as_json: AsJson = False
) -> None:
    """Say whether the model server answers, which models it has, and show one real answer."""
    # Imported here: `ai-backtrader --help` should not wait for it.
    from ai_backtrader.llm_advisor import get_advisor

    # The mode of the environment is for runs: a check always asks.
    found = check_advisor(get_advisor(base_url=url, model=model, api=api, timeout=timeout, mode="live", blind=True))
    if as_json:
        print_json(found)
    else:
        _show(found)
    if found["problem"]:
        raise typer.Exit(1)


def check_advisor(advisor: Advisor) -> dict[str, Any]:
    """Ask the server for its models, and the model about a long after a fall of 2.3 % in a strong bull market.

    Parameters
    ----------
    advisor
        In mode ``live``.

    Returns
    -------
    dict
        ``url``, ``api``, ``model``, ``models`` (name and digest of each), ``answer`` (None without one), ``seconds``,
        ``raw`` (the model's text), ``problem`` (empty if all is well).
    """
    from ai_backtrader.llm_advisor import Deadline, ServerError

    server = advisor.settings.server
    found: dict[str, Any] = {
        "url": server.base_url, "api": server.api, "model": server.model, "models": [], "answer": None, "seconds": None,
        "raw": None, "problem": "",
    }  # fmt: skip
    try:
        models = advisor.server.models(Deadline(server.timeout))
    except ServerError as error:
        return found | {"problem": f"the server does not tell its models: {error}"}
    found["models"] = [{"name": model.name, "digest": model.digest} for model in models]
    advice = advisor.advise("BTC/USDT", 95_393.0, -2.3, "LONG", "strong_bull", 7.67, confidence=0.49)
    found |= {"seconds": round(advice.seconds, 2), "raw": advice.raw}
    if advice.abstained:
        return found | {"problem": advice.reason}
    found["answer"] = {
        "action": advice.action.value, "confidence": advice.confidence, "reasoning": advice.reasoning,
        "risk_level": advice.risk_level, "warnings": list(advice.warnings),
    }  # fmt: skip
    return found


def _show(found: dict[str, Any]) -> None:
    console = Console()
    table = Table(title=f"{found['url']} ({found['api']})", title_justify="left", title_style="bold")
    table.add_column("Model")
    table.add_column("Digest")
    for model in found["models"]:
        table.add_row(model["name"], model["digest"][:12])
    console.print(table)
    if found["answer"] is not None:
        console.print(f"{found['model']} answered in {found['seconds']:.1f} s:", highlight=False, markup=False)
        for name, value in found["answer"].items():
            console.print(f"  {name}: {value}", highlight=False, markup=False)
    if found["problem"]:
        Console(stderr=True).print(f"error: {found['problem']}", style="red", highlight=False, markup=False)
        if found["raw"] is not None:
            console.print(f"It said: {found['raw']!r}", highlight=False, markup=False)
