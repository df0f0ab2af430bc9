"""The installed package is whole, cheap to import, and leaves other people's names alone."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import ai_backtrader

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "skopt", "numba", "scipy.stats", "matplotlib", "backtrader", "pandas")


def modules_of_the_checkout() -> set[str]:
    found = set()
    for folder, prefix in (
        ("ai_backtrader", ()),
        *((name, ("ai_backtrader",)) for name in ("strategies", "analyzers", "datafeeds")),
    ):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.add(".".join((*prefix, *(parts[:-1] if parts[-1] == "__init__" else parts))))
    return found


def test_every_module_of_the_checkout_is_installed() -> None:
    missing = [name for name in sorted(modules_of_the_checkout()) if importlib.util.find_spec(name) is None]
    assert not missing, f"listed nowhere in pyproject.toml [tool.setuptools] packages: {missing}"


def test_importing_the_package_opens_nothing_heavy() -> None:
    code = f"import sys, ai_backtrader; print([name for name in {HEAVY!r} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_every_public_name_is_importable() -> None:
    for name in ai_backtrader.__all__:
        assert getattr(ai_backtrader, name) is not None
    assert set(ai_backtrader.__all__) <= set(dir(ai_backtrader))


def test_the_bare_folder_names_are_not_installed(tmp_path: Path) -> None:
    code = "import importlib.util as u; print([n for n in ('strategies', 'analyzers', 'datafeeds') if u.find_spec(n)])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert out.strip() == "[]"


def test_the_licence_is_backtraders() -> None:
    metadata = importlib.metadata.metadata("ai-backtrader")
    assert metadata["License-Expression"] == "GPL-3.0-or-later"
    assert importlib.metadata.version("ai-backtrader") == ai_backtrader.__version__
