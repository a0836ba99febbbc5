"""docs/security.md names only tests that are there, and proves every promise with at least one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOC = ROOT / "docs" / "security.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows() -> list[tuple[str, list[tuple[str, str]]]]:
    """Each risk of the table with the tests that are named beside it: file and name."""
    lines = DOC.read_text(encoding="utf-8").splitlines()
    cells = [line.strip("|").split("|") for line in lines if line.startswith("| ") and not line.startswith("| risk ")]
    return [(cell[0].strip(), NAMED.findall(cell[-1])) for cell in cells]


@cache
def names_in(path: str) -> frozenset[str]:
    """The tests that pytest finds in this file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("risk", "named"), rows(), ids=[risk for risk, _ in rows()])
def test_what_is_promised_is_proven(risk: str, named: list[tuple[str, str]]) -> None:
    assert named, f"no test is named beside {risk!r}"
    missing = [f"{path}::{name}" for path, name in named if not (ROOT / path).is_file() or name not in names_in(path)]
    assert missing == []


def test_every_test_that_the_page_speaks_of_is_in_its_table() -> None:
    """A name that is written in another way would not be checked."""
    text = DOC.read_text(encoding="utf-8")
    assert len(re.findall(r"\btest_\w+`", text)) == len(NAMED.findall(text)) == sum(len(named) for _, named in rows())


def test_each_risk_stands_there_once() -> None:
    risks = [risk for risk, _ in rows()]
    assert len(risks) == len(set(risks)) >= 22
