"""Loading a strategy from a user's file."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import backtrader as bt

from ai_backtrader.audit.settings import AuditError

__all__ = ["load_strategy"]


def load_strategy(path: str | Path, name: str | None = None) -> Any:
    """Strategy class of a Python file.

    **This runs the file**, as ``python FILE.py`` would, except that ``__name__`` is not ``"__main__"``: load only code
    that you would run. Files beside it can be imported by it.

    Parameters
    ----------
    path
        The file.
    name
        Class to take; None takes the one strategy that the file defines and does not itself derive from.

    Returns
    -------
    type
        Subclass of ``backtrader.Strategy``.

    Raises
    ------
    AuditError
        If there is no such file, it fails when it is run, or it holds no strategy, several, or none of that name.
    """
    path = Path(path)
    if not path.is_file():
        raise AuditError(f"{path}: no such file; give the Python file that defines the strategy")
    module = _run(path)
    found = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, bt.Strategy) and value not in (bt.Strategy, bt.SignalStrategy)
    }
    if name is not None:
        if name not in found:
            raise AuditError(f"{path}: no strategy named {name!r}; {_listing(found)}")
        return found[name]
    own = {key: value for key, value in found.items() if value.__module__ == module.__name__}
    # A base that others in the file build on is not what the user trades.
    leaves = [key for key, value in own.items() if not any(value in other.__mro__[1:] for other in own.values())]
    if len(leaves) != 1:
        what = "several strategies" if leaves else "no strategy (a class derived from backtrader.Strategy)"
        raise AuditError(f"{path}: {what}; {_listing(own or found)}")
    return own[leaves[0]]


def _listing(found: dict[str, Any]) -> str:
    if not found:
        return "it holds none"
    return f"it holds {', '.join(sorted(found))}: choose one by name (--strategy NAME)"


def _run(path: Path) -> ModuleType:
    full = path.resolve()
    # Backtrader looks a class's module up in sys.modules, so it has to stay there, under a name of its own.
    name = f"audited_{full.stem.replace('-', '_')}_{hashlib.sha256(str(full).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise AuditError(f"{path}: not a Python file; give a file ending in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(full.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise AuditError(f"{path}: running the file failed{_line_of(error, full)}: {_words(error)}") from error
    finally:
        sys.path.remove(str(full.parent))
    return module


def _line_of(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f" in line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" in line {lines[-1]}" if lines else ""


def _words(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it left with exit code {error.code}; guard the script part with if __name__ == '__main__'"
    return f"{type(error).__name__}: {error}"
