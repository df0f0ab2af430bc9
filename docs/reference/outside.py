"""Links that leave the pages for other files of the repository become plain names: the site does not carry them."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)\s#]+)(?:#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Markdown of a page with such links replaced."""
    folder = posixpath.dirname(page.file.src_uri)

    def name(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, found[2]))
        return f"{found[1]} (`{target.removeprefix('../')}`)" if target.startswith("../") else found[0]

    return _LINK.sub(name, markdown)
