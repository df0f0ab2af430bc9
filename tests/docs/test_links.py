"""What the pages link exists, and the site has every page in its menu."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
MENU = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]


def anchors_of(page: Path) -> set[str]:
    """Ids that Markdown's table of contents gives the headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[path.relative_to(ROOT).as_posix() for path in PAGES])
def test_what_the_page_links_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", text):
        found = page.parent / target if target else page
        assert found.exists(), f"{page.name} links {target}"
        if anchor and found.suffix == ".md":
            assert anchor in anchors_of(found), f"{page.name} links #{anchor}, which {found.name} does not have"


def test_the_menu_of_the_site_has_every_page_once() -> None:
    listed = re.findall(r"[\w/]+\.md", MENU)
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_every_room_with_public_names_has_a_page_of_the_reference() -> None:
    shown = {
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    rooms = {f"ai_backtrader.{path.parent.name}" for path in (ROOT / "ai_backtrader").glob("*/__init__.py")}
    assert rooms - shown - {"ai_backtrader.cli"} == set()
    for name in shown:
        importlib.import_module(name)
