"""Chromosomes as JSON: exact round trips, canonical text, and files that come from anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.rules import (
    MAX_GENES,
    MAX_JSON_BYTES,
    RISK_LIMITS,
    SCHEMA,
    Gene,
    HoldGene,
    RiskParameters,
    Section,
    Series,
    StrategyChromosome,
)

SMALL = StrategyChromosome(
    entry_long=Section((Gene(Series("rsi", (14,)), "<", 30.0),)),
    exit=Section((Gene(Series("close"), "crosses_below", Series("ema", (26,))), HoldGene(50))),
    risk=RiskParameters(position_size=0.1, stop_atr=2.0),
)
CANONICAL = (
    '{"entry_long":{"genes":[{"left":{"period":14,"series":"rsi"},"operator":"<","right":30.0}],"need":null},'
    '"entry_short":{"genes":[],"need":null},'
    '"exit":{"genes":[{"left":{"series":"close"},"operator":"crosses_below","right":{"period":26,"series":"ema"}},'
    '{"hold":50}],"need":null},'
    '"filters":{"genes":[],"need":null},'
    '"risk":{"atr_period":14,"leverage":1.0,"position_size":0.1,"reverse":true,"stop_atr":2.0,'
    '"take_profit_atr":0.0,"trailing_atr":0.0},'
    '"schema":"ai-backtrader/chromosome/1"}'
)


def test_the_canonical_text_never_changes() -> None:
    assert SMALL.to_json() == CANONICAL
    assert StrategyChromosome.from_json(CANONICAL) == SMALL
    assert StrategyChromosome.from_json(CANONICAL.encode()) == SMALL


def test_round_trips_are_exact(many: Callable[..., list[StrategyChromosome]]) -> None:
    for chromosome in many(2000, seed=9, max_leverage=50):
        text = chromosome.to_json()
        again = StrategyChromosome.from_json(text)
        assert again == chromosome
        assert again.to_json() == text
        pretty = json.dumps(json.loads(text), indent=2)
        assert StrategyChromosome.from_json(pretty).fingerprint == chromosome.fingerprint


def test_odd_constants_survive_to_the_last_bit() -> None:
    rng = np.random.default_rng(4)
    for value in [*rng.uniform(0.0, 100.0, 500).tolist(), 5e-324, 0.1 + 0.2, 100.0, 1e-300]:
        chromosome = StrategyChromosome(entry_long=Section((Gene(Series("rsi", (14,)), "<", value),)))
        gene = StrategyChromosome.from_json(chromosome.to_json()).entry_long.genes[0]
        assert isinstance(gene, Gene)
        assert gene.right == value


def test_the_largest_chromosome_fits_into_what_is_read() -> None:
    macd = [Series("macd_histogram", (7, 30 + i, 9)) for i in range(MAX_GENES)]
    genes = tuple(Gene(series, "between", -1.2345678901234567e-05, 1.2345678901234567) for series in macd)
    large = StrategyChromosome(
        entry_long=Section(genes, 3),
        entry_short=Section(genes, 3),
        exit=Section(genes, 3),
        filters=Section(genes, 3),
    )
    text = large.to_json()
    assert len(text) < MAX_JSON_BYTES / 4
    assert StrategyChromosome.from_json(text) == large


def test_what_is_left_out_takes_its_default() -> None:
    gene = json.loads(CANONICAL)["entry_long"]["genes"][0]
    short = json.dumps({"schema": SCHEMA, "entry_short": {"genes": [gene]}, "risk": {"leverage": 2}})
    chromosome = StrategyChromosome.from_json(short)
    assert chromosome.entry_long == Section()
    assert chromosome.risk == RiskParameters(leverage=2.0)


def _with(path: str, value: object) -> str:
    """The canonical document with one place changed; a value of ``...`` deletes it."""
    document = json.loads(CANONICAL)
    place: Any = document
    *way, last = path.split(".")
    for key in way:
        place = place[int(key)] if key.isdigit() else place[key]
    if value is ...:
        del place[last]
    elif last == "+":
        place.append(value)
    else:
        place[int(last) if last.isdigit() else last] = value
    return json.dumps(document)


GENE = "entry_long.genes.0"

FAULTY = [
    ("", "not JSON: Expecting value at line 1, column 1"),
    ("\ufeff" + CANONICAL, "not JSON: Unexpected UTF-8 BOM"),
    (CANONICAL[:-1], "not JSON"),
    (CANONICAL + "}", "not JSON: Extra data"),
    (CANONICAL.replace('"', "'"), "not JSON"),
    ("null", "the document must be an object, got null"),
    ("[]", "the document must be an object, got an array"),
    ('"chromosome"', "the document must be an object, got a text"),
    ("3", "the document must be an object, got a number"),
    ("true", "the document must be an object, got true or false"),
    (_with("schema", ...), "schema must be 'ai-backtrader/chromosome/1', got None"),
    (_with("schema", 1), "schema must be .* got 1; this version reads no other"),
    (_with("schema", "ai-backtrader/chromosome/2"), "got 'ai-backtrader/chromosome/2'"),
    (_with("author", "me"), "the document has unknown keys 'author'"),
    (_with("entry_long", []), "entry_long must be an object with genes and need, got an array"),
    (_with("entry_long", None), "entry_long must be an object with genes and need, got null"),
    (_with("entry_long.weight", 1), "entry_long has unknown keys 'weight'; known are genes, need"),
    (_with("entry_long.genes", {}), "entry_long.genes must be an array, got an object"),
    (_with("entry_long.genes", []), "both without genes"),
    (_with("entry_long.need", 2), "entry_long: need must be between 1 and 1, got 2"),
    (_with("entry_long.need", 1.0), "entry_long: need must be a whole number, got 1.0"),
    (_with("entry_long.need", True), "entry_long: need must be a whole number, got True"),
    (_with("entry_long.need", "all"), "entry_long: need must be a whole number, got 'all'"),
    (_with("filters.need", 1), "filters: need must be None in a section without genes"),
    (_with("entry_long.genes.+", json.loads(CANONICAL)["entry_long"]["genes"][0]), "genes appear twice: RSI"),
    (_with("entry_long.genes.+", {"hold": 3}), "entry_long holds 'hold > 3'"),
    (_with("entry_long.genes", [{"hold": i} for i in range(1, 99)]), "entry_long.genes may be at most 16, got 98"),
    (_with(GENE, None), r"entry_long.genes\[0\] must be an object, got null"),
    (_with(GENE, "RSI(14) < 30"), r"entry_long.genes\[0\] must be an object, got a text"),
    (_with(GENE, {}), r"entry_long.genes\[0\] lacks left, operator, right"),
    (_with(f"{GENE}.operator", ...), r"entry_long.genes\[0\] lacks operator"),
    (_with(f"{GENE}.operator", "<="), r"entry_long.genes\[0\]: operator must be one of '<'"),
    (_with(f"{GENE}.operator", 1), r"entry_long.genes\[0\].operator must be a text, got a number"),
    (_with(f"{GENE}.operator", None), r"entry_long.genes\[0\].operator must be a text, got null"),
    (_with(f"{GENE}.operator", "__import__('os')"), r"operator must be one of"),
    (_with(f"{GENE}.right", ...), r"entry_long.genes\[0\] lacks right"),
    (_with(f"{GENE}.right", "30"), r"entry_long.genes\[0\].right must be a number or a series, got a text"),
    (_with(f"{GENE}.right", [30]), r"entry_long.genes\[0\].right must be a number or a series, got an array"),
    (_with(f"{GENE}.right", None), r"entry_long.genes\[0\].right must be a number or a series, got null"),
    (_with(f"{GENE}.right", True), r"right must be a number or a series, got true or false"),
    (_with(f"{GENE}.right", 130), r"entry_long.genes\[0\]: right must be between 0 and 100, got 130"),
    (_with(f"{GENE}.right", {"series": "ema", "period": 5}), "cannot be compared with EMA"),
    (_with(f"{GENE}.upper", 50), "upper belongs to 'between' only"),
    (_with(f"{GENE}.upper", "50"), r"entry_long.genes\[0\].upper must be a number, got a text"),
    (_with(f"{GENE}.comment", "buy low"), r"entry_long.genes\[0\] has unknown keys 'comment'"),
    (_with(f"{GENE}.left", "rsi"), r"entry_long.genes\[0\].left must be an object with series and its parameters"),
    (_with(f"{GENE}.left", {}), r"entry_long.genes\[0\].left.series must be one of close, open, .*got None"),
    (_with(f"{GENE}.left.series", "os.system"), r"left.series must be one of .*got 'os.system'"),
    (_with(f"{GENE}.left.series", {}), r"left.series must be one of .*got {}"),
    (_with(f"{GENE}.left.series", ["rsi"]), r"left.series must be one of .*got \['rsi'\]"),
    (_with(f"{GENE}.left.series", "x" * 500), r"got 'xxx.*\.\.\."),
    (_with(f"{GENE}.left.period", ...), r"entry_long.genes\[0\].left \(rsi\) lacks period"),
    (_with(f"{GENE}.left.period", 14.5), r"entry_long.genes\[0\].left: period must be a whole number, got 14.5"),
    (_with(f"{GENE}.left.period", 14.0), "period must be a whole number, got 14.0"),
    (_with(f"{GENE}.left.period", "14"), r"entry_long.genes\[0\].left.period must be a number, got a text"),
    (_with(f"{GENE}.left.period", True), r"left.period must be a number, got true or false"),
    (_with(f"{GENE}.left.period", 0), "period must be between 2 and 50, got 0"),
    (_with(f"{GENE}.left.period", 10**9), "period must be between 2 and 50"),
    (_with(f"{GENE}.left.fast", 3), r"entry_long.genes\[0\].left has unknown keys 'fast'; known are series, period"),
    (_with("exit.genes.1.hold", 0), r"exit.genes\[1\]: bars must be between 1 and 100000, got 0"),
    (_with("exit.genes.1.hold", 5.0), r"exit.genes\[1\]: bars must be a whole number, got 5.0"),
    (_with("exit.genes.1.hold", None), r"exit.genes\[1\]: bars must be a whole number, got None"),
    (_with("exit.genes.1.bars", 5), r"exit.genes\[1\] has unknown keys 'bars'; known are hold"),
    (_with("risk", None), "risk must be an object, got null"),
    (_with("risk", [1]), "risk must be an object, got an array"),
    (_with("risk.max_loss", 1), "risk has unknown keys 'max_loss'"),
    (_with("risk.reverse", 1), "risk: reverse must be True or False, got 1"),
    (_with("risk.leverage", 1000), "risk: leverage must be between 1 and 125, got 1000"),
    (_with("risk.leverage", None), "risk: leverage must be a number, got None"),
    (_with("risk.trailing_atr", 2), "risk: stop_atr .2. and trailing_atr .2. exclude each other"),
    (CANONICAL.replace("30.0", "NaN"), "NaN is not a number that a chromosome can hold"),
    (CANONICAL.replace("30.0", "Infinity"), "Infinity is not a number"),
    (CANONICAL.replace("30.0", "-Infinity"), "-Infinity is not a number"),
    (CANONICAL.replace("30.0", "1e999"), "right must be finite, got inf"),
    (CANONICAL.replace("30.0", "9" * 5000), r"a number has 5000 characters \(999999999999…\); at most 40"),
    (CANONICAL.replace("30.0", "0." + "1" * 5000), "a number has 5002 characters"),
    (CANONICAL.replace("30.0", "9" * 40), "right must be between 0 and 100"),
    (CANONICAL.replace('"right":30.0', '"right":30.0,"right":40.0'), "keys appear twice in one object: 'right'"),
    (CANONICAL.replace('"schema"', '"risk":{},"schema"'), "keys appear twice in one object: 'risk'"),
    ("[" * 100_000, "the text is 100000 long; at most 65536 is read"),
    ("[" * 60_000, "the text nests 60000 deep; at most 8 is read"),
    ('{"a":' * 9 + "1" + "}" * 9, "the text nests 9 deep"),
    (CANONICAL + " " * MAX_JSON_BYTES, "at most 65536 is read"),
    (b"\xff\xfe" + CANONICAL.encode(), "the text is not UTF-8: byte 0 is 0xff"),
    (CANONICAL.encode("utf-16"), "the text is not UTF-8"),
    (_with("\ud800", 1), r"unknown keys '\\ud800'"),
]


@pytest.mark.parametrize(("text", "fault"), FAULTY)
def test_a_faulty_document_is_refused_with_its_place(text: str | bytes, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault) as caught:
        StrategyChromosome.from_json(text)
    str(caught.value).encode()  # can be shown anywhere


@pytest.mark.parametrize("given", [None, 5, {"schema": SCHEMA}, ["{}"], bytearray(b"{}")])
def test_only_text_is_read(given: object) -> None:
    with pytest.raises(SettingsError, match="expected JSON text, got "):
        StrategyChromosome.from_json(given)  # type: ignore[arg-type]  # that is the point


def test_all_faults_of_a_document_are_told_together() -> None:
    document = json.loads(CANONICAL)
    document["entry_long"]["genes"][0]["left"]["period"] = 0
    document["exit"]["genes"][1]["hold"] = -1
    document["risk"]["leverage"] = 0
    document["extra"] = 1
    with pytest.raises(SettingsError) as caught:
        StrategyChromosome.from_json(json.dumps(document))
    assert len(caught.value.faults) == 4


def _mutilated(rng: np.random.Generator, text: str) -> str:
    """A valid text after one to four random injuries: characters and pieces cut, doubled, swapped, replaced."""
    pieces = ["null", "true", "[]", "{}", '""', "-1", "0", "1e400", "NaN", "99999999999999999999", '"rsi"', ",", ":"]
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(text)))
        length = int(rng.integers(1, 12))
        kind = int(rng.integers(4))
        if kind == 0:
            text = text[:at] + text[at + length :]
        elif kind == 1:
            text = text[:at] + text[at : at + length] + text[at:]
        elif kind == 2:
            text = text[:at] + pieces[int(rng.integers(len(pieces)))] + text[at + length :]
        else:
            text = text[:at] + chr(int(rng.integers(1, 0x2000))) + text[at + 1 :]
    return text


def test_injured_documents_are_read_rightly_or_refused_clearly(
    many: Callable[..., list[StrategyChromosome]],
) -> None:
    rng = np.random.default_rng(11)
    refused = 0
    for chromosome in many(100, seed=2, max_leverage=9):
        for _ in range(30):
            text = _mutilated(rng, chromosome.to_json())
            try:
                read = StrategyChromosome.from_json(text)
            except SettingsError:
                refused += 1
            else:
                # What is read is what is written: nothing was dropped or guessed.
                assert StrategyChromosome.from_json(read.to_json()) == read
                assert set(json.loads(text)) <= set(json.loads(read.to_json()))
    assert refused > 2500


def _places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = document.items() if isinstance(document, dict) else enumerate(document)
    found = []
    for key, value in items:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += _places(value, (*path, key))
    return found


def test_a_wrong_type_in_any_place_is_refused_or_means_the_same() -> None:
    wrong: list[Any] = [None, True, "x", "", -1, 10**30, 1e300, [], {}, [None], {"series": "rsi"}, [[[]]]]
    refused = 0
    for place in _places(json.loads(CANONICAL)):
        for value in wrong:
            document = json.loads(CANONICAL)
            holder: Any = document
            for key in place[:-1]:
                holder = holder[key]
            if holder[place[-1]] == value and type(holder[place[-1]]) is type(value):
                continue
            holder[place[-1]] = value
            try:
                read = StrategyChromosome.from_json(json.dumps(document))
            except SettingsError:
                refused += 1
            else:
                # An empty section or risk, or a hold or ATR-free number that is allowed: never something else.
                assert value in ({}, [], -1) or place[-1] in ("reverse", "need")
                assert isinstance(read, StrategyChromosome)
    assert refused >= 400


def test_every_risk_parameter_is_written() -> None:
    assert set(json.loads(CANONICAL)["risk"]) == {*RISK_LIMITS, "reverse"}
