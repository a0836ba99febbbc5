"""Nothing is installed whose content is not known beforehand, and what is installed can be told."""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_scripts import posix, project, run

__all__ = ["project"]  # a fixture

ROOT = Path(__file__).resolve().parent.parent.parent
_spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts/audit.py")
assert _spec is not None
audit: Any = importlib.util.module_from_spec(_spec)
sys.modules["audit"] = audit  # dataclasses look their module up
_spec.loader.exec_module(audit)  # type: ignore[union-attr]
LOCKS: tuple[str, ...] = audit.LOCKS
SOURCES = [lock.removesuffix(".txt") + ".in" for lock in LOCKS]
DIGEST = re.compile(r"[0-9a-f]{64}")


def wanted(source: str) -> list[Requirement]:
    """The requirements of an `.in` file, without what it takes from another one."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / source).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


# --- The lock files --------------------------------------------------------------------------------------------------
def test_every_list_of_packages_in_the_repository_is_locked() -> None:
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    found = {name for name in listed.stdout.split() if name.endswith(".in") and (ROOT / name).is_file()}
    assert found == set(SOURCES)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_pinned_and_hashed(lock: str) -> None:
    found = audit.locked(lock)  # refuses every line that is no pin: a URL, a path, an index, a range
    assert found
    for pin in found:
        assert pin.hashes, pin.name
        assert all(DIGEST.fullmatch(one) for one in pin.hashes), pin.name


@pytest.mark.parametrize("lock", LOCKS)
def test_no_place_is_named_where_packages_come_from(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host|-f ", text)


@pytest.mark.parametrize(("lock", "source"), list(zip(LOCKS, SOURCES, strict=True)))
def test_what_is_wanted_is_in_the_lock_as_it_is_wanted(lock: str, source: str) -> None:
    locked_versions: dict[str, list[str]] = {}
    for pin in audit.locked(lock):
        locked_versions.setdefault(canonicalize_name(pin.name), []).append(pin.version)
    for requirement in wanted(source):
        versions = locked_versions.get(canonicalize_name(requirement.name))
        assert versions, requirement.name
        assert all(requirement.specifier.contains(version) for version in versions), requirement.name


def test_the_tests_run_on_the_very_versions_that_the_service_runs_on() -> None:
    tested = {(pin.name, pin.version) for pin in audit.locked("requirements-dev.txt")}
    assert {(pin.name, pin.version) for pin in audit.locked("requirements.txt")} <= tested


@pytest.mark.parametrize(
    "line",
    [
        "django",
        "django>=5",
        "django @ https://example.com/django.whl",
        "git+https://example.com/django.git",
        "--index-url https://example.com/simple",
        "-e .",
        "./django.whl",
    ],
)
def test_a_line_that_pins_nothing_is_noticed(line: str) -> None:
    with pytest.raises(ValueError, match="pins no package"):
        audit.pins(line)


def test_the_image_takes_only_what_is_pinned() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "pip install" in line] == ["RUN pip install --require-hashes -r requirements.txt"]


# --- The setup -------------------------------------------------------------------------------------------------------
@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package that a setup can install without a network."""
    path = tmp_path / "wheels" / "tiny-1-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "WAS_HERE = True\n")
        archive.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        archive.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.dist-info/RECORD", "tiny.py,,\ntiny-1.dist-info/RECORD,,\n")
    return path


@posix
@pytest.mark.parametrize(
    ("hashed", "installed"),
    [
        pytest.param("right", True, id="the right content"),
        pytest.param("wrong", False, id="another content"),
        pytest.param("", False, id="a content that nobody knows"),
    ],
)
def test_the_setup_installs_a_package_only_with_the_content_that_is_known(
    project: Path, tmp_path: Path, wheel: Path, hashed: str, installed: bool
) -> None:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest() if hashed == "right" else "0" * 64
    pin = f"tiny==1 --hash=sha256:{digest}" if hashed else "tiny==1"
    (project / "requirements.txt").write_text(pin + "\n", encoding="utf-8")
    no_uv = tmp_path / "bin"
    no_uv.mkdir()
    (no_uv / "uv").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (no_uv / "uv").chmod(0o755)
    done = run(project, "demo", path=no_uv, PIP_FIND_LINKS=str(wheel.parent))
    assert (done.returncode == 0) is installed, done.stdout
    assert any((project / ".venv").glob("lib/*/site-packages/tiny.py")) is installed


# --- The list of parts -----------------------------------------------------------------------------------------------
def test_the_list_of_parts_names_every_package_that_the_service_runs_on() -> None:
    made, parts = audit.sbom(), audit.locked("requirements.txt")
    assert (made["bomFormat"], made["specVersion"], made["version"]) == ("CycloneDX", "1.6", 1)
    assert uuid.UUID(made["serialNumber"]).urn == made["serialNumber"]
    assert {(one["name"], one["version"]) for one in made["components"]} == {(one.name, one.version) for one in parts}
    assert all(one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}" for one in made["components"])
    assert all(one["hashes"] for one in made["components"])
    references = [one["bom-ref"] for one in (made["metadata"]["component"], *made["components"])]
    assert len(set(references)) == len(references)
    assert [one["ref"] for one in made["dependencies"]] == references
    needed = {ref for one in made["dependencies"] for ref in one["dependsOn"]}
    assert needed == set(references[1:])  # everything is there because something needs it
    direct = {canonicalize_name(one.name) for one in wanted("requirements.in")}
    assert {ref.partition("@")[0].removeprefix("pkg:pypi/") for ref in made["dependencies"][0]["dependsOn"]} == direct


def audited(tmp_path: Path, *arguments: str, pip_audit: str = "raise SystemExit(9)") -> tuple[int, str]:
    """Run the script's own file in a copy of the lock files, with this in pip-audit's place."""
    for name in (*LOCKS, "pyproject.toml", "scripts/audit.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub/pip_audit.py").write_text(pip_audit, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "scripts/audit.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "stub")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_list_of_parts_needs_no_network_and_stays_the_same(tmp_path: Path) -> None:
    code, text = audited(tmp_path, "--only-sbom")
    assert (code, text) == (0, f"The list of parts is in {Path('build/sbom.json')}.\n")
    assert json.loads((tmp_path / "build/sbom.json").read_text(encoding="utf-8")) == audit.sbom()


# --- Known vulnerabilities -------------------------------------------------------------------------------------------
FLAW = {"id": "PYSEC-2026-1", "fix_versions": ["5.2.99"], "aliases": [], "description": "x"}
SAFE: dict[str, Any] = {"name": "celery", "version": "5.6.3", "vulns": []}
BAD = {"name": "django", "version": "5.2.1", "vulns": [FLAW]}
UNKNOWN = {"name": "kombu", "skip_reason": "Dependency not found on PyPI and could not be audited: kombu (5.7.0)"}
ANSWERING = """
import json, sys
from pathlib import Path
arguments = sys.argv
lines = Path(arguments[arguments.index("--requirement") + 1]).read_text().split()
told = [{"name": line.split("==")[0], "version": line.split("==")[1], "vulns": []} for line in lines]
[one] = [one for one in told if one["name"] == "django"] or [{}]
one.update(%r)
Path(arguments[arguments.index("--output") + 1]).write_text(json.dumps({"dependencies": told, "fixes": []}))
raise SystemExit(%d)
"""


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        ([SAFE], 0, "No known vulnerability in 1 packages."),
        ([SAFE, BAD], 1, "django 5.2.1: PYSEC-2026-1, mended in 5.2.99."),
        ([{**BAD, "vulns": [{**FLAW, "fix_versions": []}]}], 1, "mended in no version yet."),
        ([SAFE, UNKNOWN], 2, "knows nothing of 1 of 2 packages, kombu for one"),  # a mirror's 404 is no all-clear
        ([UNKNOWN, BAD], 1, "PYSEC-2026-1"),
    ],
)
def test_what_the_answer_means(told: list[dict[str, Any]], code: int, said: str) -> None:
    found, sentences = audit.verdict(told)
    assert found == code
    assert said in "\n".join(sentences)


@pytest.mark.parametrize(
    ("pip_audit", "code", "said"),
    [
        (ANSWERING % ({}, 0), 0, "No known vulnerability in "),
        (ANSWERING % ({"vulns": [FLAW]}, 1), 1, "PYSEC-2026-1"),
        ("raise SystemExit('Could not connect')", 2, "Could not connect\nThe vulnerability service could not be reach"),
    ],
)
def test_the_exit_code_tells_safe_from_vulnerable_from_unknown(
    tmp_path: Path, pip_audit: str, code: int, said: str
) -> None:
    assert (result := audited(tmp_path, pip_audit=pip_audit))[0] == code, result
    assert said in result[1]
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == ["sbom.json"]


def test_every_version_is_asked_for_whatever_system_it_is_for() -> None:
    mine = [
        audit.Pin("a", "1", ""),
        audit.Pin("b", "1", "sys_platform == 'win32'"),
        audit.Pin("b", "2", ""),
        audit.Pin("a", "1", ""),
    ]
    assert list(audit.rounds(mine)) == [["a==1", "b==1"], ["b==2"]]
    asked = {line for lines in audit.rounds([pin for lock in LOCKS for pin in audit.locked(lock)]) for line in lines}
    assert asked == {f"{pin.name}=={pin.version}" for lock in LOCKS for pin in audit.locked(lock)}
