"""Every Python snippet of the README and of the pages runs as it stands, and prints what the page says it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
SNIPPET = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def snippets() -> list[tuple[str, str, str]]:
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8") + "\n"
        for number, (code, said) in enumerate(SNIPPET.findall(text), 1):
            found.append((f"{page}-{number}", code, said))
    return found


@pytest.mark.parametrize(("name", "code", "said"), snippets(), ids=[name for name, _, _ in snippets()])
def test_the_snippet_prints_what_the_page_says(name: str, code: str, said: str, tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip(), f"{name} prints nothing"
    if said:  # the text block right after a snippet is its output
        assert ran.stdout.strip() == said.strip()


def test_every_page_with_code_is_read() -> None:
    assert len(snippets()) == sum((ROOT / page).read_text("utf-8").count("\n```python\n") for page in PAGES)
