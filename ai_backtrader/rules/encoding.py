"""Chromosomes as JSON: canonical text out, untrusted text in.

The text holds the schema's name, the four sections and the risk parameters. Written text is canonical: keys sorted, no
blanks, the shortest digits that give the same float; equal chromosomes give equal text. Read text may come from
anywhere: its size and depth are limited before it is parsed, and every fault is named with its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.rules.catalogue import CATALOGUE, Number
from ai_backtrader.rules.genes import Gene, HoldGene, Series
from ai_backtrader.rules.sections import MAX_GENES, RISK_NAMES, SECTIONS, RiskParameters, Section

__all__ = ["MAX_JSON_BYTES", "SCHEMA", "dump", "parse"]

SCHEMA = "ai-backtrader/chromosome/1"
"""Name and version of the format."""

MAX_JSON_BYTES = 65_536
"""Longest text that is read; the longest valid chromosome takes about 12 kB."""

_MAX_DEPTH = 8  # a chromosome nests six deep
_MAX_DIGITS = 40  # longer numbers are no parameters of ours, and slow to convert


def dump(sections: Mapping[str, Section], risk: RiskParameters) -> str:
    """Canonical text."""
    document: dict[str, Any] = {"schema": SCHEMA, "risk": {name: getattr(risk, name) for name in RISK_NAMES}}
    for name, section in sections.items():
        document[name] = {"genes": [_gene_document(gene) for gene in section.genes], "need": section.need}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _gene_document(gene: Gene | HoldGene) -> dict[str, Any]:
    if isinstance(gene, HoldGene):
        return {"hold": gene.bars}
    right = _series_document(gene.right) if isinstance(gene.right, Series) else gene.right
    document = {"left": _series_document(gene.left), "operator": gene.operator.value, "right": right}
    return document if gene.upper is None else {**document, "upper": gene.upper}


def _series_document(series: Series) -> dict[str, Any]:
    names = (parameter.name for parameter in series.kind.parameters)
    return {"series": series.name, **dict(zip(names, series.params, strict=True))}


def parse(text: str | bytes) -> tuple[dict[str, Section], RiskParameters]:
    """Sections and risk parameters of a JSON text.

    Raises
    ------
    SettingsError
        Naming every fault with its place.
    """
    faults = Faults("chromosome JSON")
    document = _load(text, faults)
    if not isinstance(document, dict):
        _stop(faults, f"the document must be an object, got {_kind(document)}")
    if document.get("schema") != SCHEMA:
        _stop(faults, f"schema must be {SCHEMA!r}, got {_shown(document.get('schema'))}; this version reads no other")
    _known_keys(faults, "the document", document, ("schema", "risk", *SECTIONS))
    sections = {name: _section(faults, name, document[name]) for name in SECTIONS if name in document}
    risk = _risk(faults, document.get("risk", {}))
    faults.raise_if_any()
    # Without faults every part was made.
    return {name: section for name, section in sections.items() if section is not None}, risk or RiskParameters()


def _load(text: object, faults: Faults) -> object:
    if not isinstance(text, str | bytes):
        _stop(faults, f"expected JSON text, got {type(text).__name__}")
    if len(text) > MAX_JSON_BYTES:
        _stop(faults, f"the text is {len(text)} long; at most {MAX_JSON_BYTES} is read")
    try:
        plain = text if isinstance(text, str) else text.decode("utf-8")
    except UnicodeDecodeError as error:
        _stop(faults, f"the text is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}")
    if _depth(plain) > _MAX_DEPTH:
        _stop(faults, f"the text nests {_depth(plain)} deep; at most {_MAX_DEPTH} is read")
    try:
        return json.loads(
            plain,
            object_pairs_hook=lambda pairs: _object(pairs, faults),
            parse_constant=lambda word: _stop(faults, f"{word} is not a number that a chromosome can hold"),
            parse_int=lambda digits: int(_digits(digits, faults)),
            parse_float=lambda digits: float(_digits(digits, faults)),
        )
    except json.JSONDecodeError as error:
        _stop(faults, f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}")


def _stop(faults: Faults, fault: str) -> NoReturn:
    faults.add(fault)
    faults.raise_if_any()
    raise AssertionError("unreachable")


def _depth(text: str) -> int:
    """Deepest nesting of brackets outside strings."""
    depth = deepest = 0
    inside = escaped = False
    for character in text:
        if inside:
            inside = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, object]], faults: Faults) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        faults.add(f"keys appear twice in one object: {', '.join(_shown(k) for k in found if keys.count(k) > 1)}")
    return found


def _digits(digits: str, faults: Faults) -> str:
    if len(digits) > _MAX_DIGITS:
        _stop(faults, f"a number has {len(digits)} characters ({digits[:12]}…); at most {_MAX_DIGITS} are read")
    return digits


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _known_keys(faults: Faults, place: str, found: Mapping[str, object], known: tuple[str, ...]) -> None:
    unknown = [key for key in found if key not in known]
    if unknown:
        faults.add(f"{place} has unknown keys {', '.join(map(_shown, unknown))}; known are {', '.join(known)}")


def _section(faults: Faults, place: str, found: object) -> Section | None:
    if not isinstance(found, dict):
        faults.add(f"{place} must be an object with genes and need, got {_kind(found)}")
        return None
    _known_keys(faults, place, found, ("genes", "need"))
    listed = found.get("genes", [])
    if not isinstance(listed, list):
        faults.add(f"{place}.genes must be an array, got {_kind(listed)}")
        return None
    if len(listed) > MAX_GENES:
        faults.add(f"{place}.genes may be at most {MAX_GENES}, got {len(listed)}")
        return None
    genes = [_gene(faults, f"{place}.genes[{position}]", gene) for position, gene in enumerate(listed)]
    made = tuple(gene for gene in genes if gene is not None)
    if len(made) < len(genes):
        return None
    try:
        return Section(made, found.get("need"))
    except SettingsError as error:
        _take(faults, place, error)
        return None


def _gene(faults: Faults, place: str, found: object) -> Gene | HoldGene | None:
    if not isinstance(found, dict):
        faults.add(f"{place} must be an object, got {_kind(found)}")
        return None
    try:
        if "hold" in found:
            _known_keys(faults, place, found, ("hold",))
            return HoldGene(found["hold"])
        _known_keys(faults, place, found, ("left", "operator", "right", "upper"))
        missing = [key for key in ("left", "operator", "right") if key not in found]
        if missing:
            faults.add(f"{place} lacks {', '.join(missing)}")
            return None
        left = _series(faults, f"{place}.left", found["left"])
        right = found["right"]
        if isinstance(right, dict):
            right = _series(faults, f"{place}.right", right)
        elif not _is_number(right):
            faults.add(f"{place}.right must be a number or a series, got {_kind(right)}")
            return None
        upper = found.get("upper")
        if upper is not None and not _is_number(upper):
            faults.add(f"{place}.upper must be a number, got {_kind(upper)}")
            return None
        operator = found["operator"]
        if not isinstance(operator, str):
            faults.add(f"{place}.operator must be a text, got {_kind(operator)}")
            return None
        if left is None or right is None:
            return None
        return Gene(left, operator, right, upper)  # type: ignore[arg-type]  # Gene checks the operator's text
    except SettingsError as error:
        _take(faults, place, error)
        return None


def _series(faults: Faults, place: str, found: object) -> Series | None:
    if not isinstance(found, dict):
        faults.add(f"{place} must be an object with series and its parameters, got {_kind(found)}")
        return None
    name = found.get("series")
    kind = CATALOGUE.get(name) if isinstance(name, str) else None
    if kind is None:
        faults.add(f"{place}.series must be one of {', '.join(CATALOGUE)}, got {_shown(name)}")
        return None
    names = tuple(parameter.name for parameter in kind.parameters)
    _known_keys(faults, place, found, ("series", *names))
    missing = [key for key in names if key not in found]
    if missing:
        faults.add(f"{place} ({kind.name}) lacks {', '.join(missing)}")
        return None
    params: list[Number] = []
    for key in names:
        value = found[key]
        if not _is_number(value):
            faults.add(f"{place}.{key} must be a number, got {_kind(value)}")
            return None
        params.append(value)
    try:
        return Series(kind.name, tuple(params))
    except SettingsError as error:
        _take(faults, place, error)
        return None


def _risk(faults: Faults, found: object) -> RiskParameters | None:
    if not isinstance(found, dict):
        faults.add(f"risk must be an object, got {_kind(found)}")
        return None
    _known_keys(faults, "risk", found, RISK_NAMES)
    try:
        return RiskParameters(**{name: found[name] for name in RISK_NAMES if name in found})
    except SettingsError as error:
        _take(faults, "risk", error)
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _take(faults: Faults, place: str, error: SettingsError) -> None:
    for fault in error.faults:
        faults.add(f"{place}: {fault}")
