"""Docstrings as the site's Markdown wants them: roles become links, ``Params`` becomes a section that is understood."""

from __future__ import annotations

import re

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`(~?)([\w.]+)`")
_PARAMS = re.compile(r"^Params\n-+$", re.MULTILINE)
_LITERAL_BLOCK = re.compile(r"::$", re.MULTILINE)


class Roles(griffe.Extension):
    """Rewrites each docstring as it is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is None:
            return
        room = ".".join(obj.path.split(".")[:2])

        def link(found: re.Match[str]) -> str:
            short, target = found.groups()
            text = target.rsplit(".", 1)[-1] if short else target
            path = target if target.startswith("ai_backtrader.") else f"{room}.{target}"
            return f'<autoref optional identifier="{path}">`{text}`</autoref>'

        text = _ROLE.sub(link, obj.docstring.value)
        obj.docstring.value = _LITERAL_BLOCK.sub(":", _PARAMS.sub("Parameters\n----------", text))
