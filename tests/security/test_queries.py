"""Where a client's request meets the tables, every query begins at the caller's organization: read from the code.

What is listed in `ELSEWHERE` does not, and says why it need not. A new query fails here until it does either.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MANAGERS = {"objects", "_default_manager", "_base_manager"}
RAW = {"cursor", "raw", "extra"}
OWNER = {"organization", "organization_id", "organization__in"}

# Which rows a request names is decided in these; all that lies below them is handed rows or an organization.
DOORS = [
    *sorted(ROOT.glob("api/**/*.py")),
    *sorted(ROOT.glob("notifier/inputs/*.py")),
    *(ROOT / "deadlines" / name for name in ("api.py", "imports.py", "inputs.py")),
    *(ROOT / "notifier" / name for name in ("intake.py", "limits.py", "outputs.py", "webhook_secrets.py")),
]

ELSEWHERE = {
    "api/authentication.py::organization": "the default organization, by its fixed slug",
    "api/queries.py::ids_between": "turns a time into a number, of which nothing is shown",
    "deadlines/imports.py::_write": "writes rows that stand under the organization already",
    "deadlines/imports.py::store": "locks the organization that it was handed",
    "notifier/intake.py::_named": "Python's door: the company's own code names the organization",
    "notifier/webhook_secrets.py::current": "the organization that it was handed",
    "notifier/webhook_secrets.py::_made": "the organization that it was handed",
    "notifier/webhook_secrets.py::signing": "the organization that it was handed",
}


def queries(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Every query of a module: in which function it stands, and whether it begins at an organization."""
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}

    def function_around(node: ast.AST) -> str:
        while node in parents:
            node = parents[node]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                return node.name
        return "module"

    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr not in MANAGERS | RAW:
            continue
        method = node if node.attr in RAW else parents[node]
        call = parents.get(method)
        if not isinstance(method, ast.Attribute) or not isinstance(call, ast.Call):
            yield function_around(node), node.attr in RAW  # a manager that is handed on; or no call at all
        elif method.attr != "none":
            named = {keyword.arg for keyword in call.keywords}
            yield function_around(node), method.attr in {"filter", "create", "get"} and bool(named & OWNER)


def free_queries(path: Path) -> set[str]:
    """The functions of a module with a query that begins elsewhere."""
    found = queries(ast.parse(path.read_text(encoding="utf-8")))
    return {f"{path.relative_to(ROOT).as_posix()}::{function}" for function, is_ours in found if not is_ours}


def test_every_query_begins_at_the_callers_organization() -> None:
    found = set().union(*(free_queries(path) for path in DOORS))
    assert found - set(ELSEWHERE) == set(), "begin at the caller's organization, or say in ELSEWHERE why not"
    assert set(ELSEWHERE) - found == set(), "no longer there"


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("Recipient.objects.filter(organization=owner)", False),
        ("Recipient.objects.filter(organization=owner, pk=1).first()", False),
        ("Recipient.objects.none()", False),
        ("Recipient.objects.get(pk=1)", True),
        ("Recipient.objects.all()", True),
        ("Recipient.objects.filter(pk=1)", True),
        ("Recipient.objects.filter(pk=1).filter(organization=owner)", True),
        ("Recipient._default_manager.exclude(organization=owner)", True),
        ("get_object_or_404(Recipient.objects, pk=1)", True),
        ("rows = Recipient.objects", True),
        ("connection.cursor()", True),
        ("Recipient.objects.raw('SELECT 1')", True),
    ],
)
def test_the_reader_finds_what_it_is_for(code: str, is_found: bool, tmp_path: Path) -> None:
    assert any(not is_ours for _, is_ours in queries(ast.parse(code))) is is_found
