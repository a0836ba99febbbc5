#!/usr/bin/env python3
"""What the service is made of (`build/sbom.json`, CycloneDX), and whether a part has a known vulnerability.

The list is made of requirements.txt alone: no network, no packages. The question goes to pip-audit, for every pin of
every lock file, also those of other systems than this one.

Exit code: 0 nothing is known; 1 something is; 2 nobody could tell, since the service that knows was not reached.
"""

import json
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
SBOM = BUILD / "sbom.json"
SERVICE = "requirements.txt"
LOCKS = (
    SERVICE,
    "requirements-dev.txt",
    "requirements-audit.txt",
    "benchmarks/requirements.txt",
    "scripts/pip.txt",
    "scripts/uv.txt",
)
NOTHING, VULNERABLE, NOBODY_KNOWS = 0, 1, 2
_PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[.*\])?==([^\s;\\]+)(?: ; ([^\\]+?))?(?: \\)?$")
_HASH = re.compile(r"\s+--hash=sha256:([0-9a-f]{64})(?: \\)?$")
_PARENT = re.compile(r"\s+#(?: via |   )([a-z0-9][a-z0-9._-]*|-r .+)$")


@dataclass(slots=True)
class Pin:
    """One package of a lock file. `marker`: on which systems; "" on all. `parents`: who needs it, as the file says."""

    name: str
    version: str
    marker: str
    hashes: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def pins(text: str) -> list[Pin]:
    """The packages of a lock file. ValueError for a line that pins nothing."""
    found: list[Pin] = []
    for line in text.splitlines():
        if parent := _PARENT.match(line):
            found[-1].parents.append(parent[1])
        elif hashed := _HASH.match(line):
            found[-1].hashes.append(hashed[1])
        elif pin := _PIN.match(line):
            found.append(Pin(pin[1], pin[2], pin[3] or ""))
        elif line.strip() and not line.lstrip().startswith("#"):
            raise ValueError(f"This pins no package: {line!r}")
    return found


def locked(name: str) -> list[Pin]:
    """The packages of this lock file."""
    return pins((ROOT / name).read_text(encoding="utf-8"))


# --- The list of parts -----------------------------------------------------------------------------------------------
def sbom() -> dict[str, Any]:
    """CycloneDX 1.6: the packages that the service runs on. The same for the same lock file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    parts = locked(SERVICE)
    itself = {"type": "application", "bom-ref": project["name"], "name": project["name"], "version": project["version"]}
    needed_by: dict[str, list[str]] = {
        project["name"]: [part.purl for part in parts if any(map(_is_file, part.parents))]
    }
    for part in parts:
        needed_by[part.purl] = [other.purl for other in parts if part.name in other.parents]
    document: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": itself},
        "components": [_component(part) for part in parts],
        "dependencies": [{"ref": ref, "dependsOn": sorted(needs)} for ref, needs in needed_by.items()],
    }
    number = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(document, sort_keys=True))
    return {**document, "serialNumber": number.urn}


def _is_file(parent: str) -> bool:
    return parent.startswith("-r ")


def _component(part: Pin) -> dict[str, Any]:
    made = {"type": "library", "bom-ref": part.purl, "name": part.name, "version": part.version, "purl": part.purl}
    hashes = [{"alg": "SHA-256", "content": one} for one in part.hashes]  # of each of its files
    marker = {"properties": [{"name": "marker", "value": part.marker}]} if part.marker else {}
    return {**made, "hashes": hashes, **marker}


def write_sbom() -> None:
    """Write it where others find it."""
    BUILD.mkdir(exist_ok=True)
    SBOM.write_text(json.dumps(sbom(), indent=2) + "\n", encoding="utf-8")


# --- Known vulnerabilities -------------------------------------------------------------------------------------------
def rounds(all_pins: list[Pin]) -> Iterator[list[str]]:
    """`name==version` lines in as many lists as a package has versions: pip-audit takes one of each at a time."""
    versions: dict[str, list[str]] = {}
    for pin in all_pins:
        known = versions.setdefault(pin.name, [])
        if pin.version not in known:
            known.append(pin.version)
    for number in range(max(map(len, versions.values()), default=0)):
        yield [f"{name}=={known[number]}" for name, known in sorted(versions.items()) if number < len(known)]


def ask(lines: list[str], arguments: list[str]) -> list[dict[str, Any]] | None:
    """What pip-audit says of each of these. None: it could not tell."""
    question, answer = BUILD / "audit-question.txt", BUILD / "audit-answer.json"
    question.write_text("\n".join(lines) + "\n", encoding="utf-8")
    answer.unlink(missing_ok=True)
    options = ["--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json", "--output", answer]
    command = [sys.executable, "-m", "pip_audit", *options, "--requirement", question, *arguments]
    done = subprocess.run([str(word) for word in command], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    try:
        told: list[dict[str, Any]] = json.loads(answer.read_text(encoding="utf-8"))["dependencies"]
    except (OSError, ValueError, KeyError):
        print((done.stderr.strip().splitlines() or ["pip-audit said nothing."])[-1], file=sys.stderr)
        return None
    finally:
        question.unlink(missing_ok=True)
        answer.unlink(missing_ok=True)
    return told


def verdict(told: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """The exit code, and the sentences to print. A package of which nobody knows anything is no safe one."""
    bad = [one for one in told if one.get("vulns")]
    unknown = [one["name"] for one in told if "skip_reason" in one]
    sentences = [
        f"{one['name']} {one['version']}: {vulnerability['id']}, mended in {_versions(vulnerability)}."
        for one in bad
        for vulnerability in one["vulns"]
    ]
    if unknown:
        sentences.append(
            f"The vulnerability service knows nothing of {len(unknown)} of {len(told)} packages, {unknown[0]} for one:"
            " it was not reached, or a mirror stands in its place."
        )
    if bad:
        return VULNERABLE, sentences
    return (NOBODY_KNOWS, sentences) if unknown else (NOTHING, [f"No known vulnerability in {len(told)} packages."])


def _versions(vulnerability: dict[str, Any]) -> str:
    return ", ".join(vulnerability.get("fix_versions") or ["no version yet"])


def audit(arguments: list[str]) -> int:
    """Ask for every pin, and say what came of it."""
    told: list[dict[str, Any]] = []
    for lines in rounds([pin for name in LOCKS if (ROOT / name).is_file() for pin in locked(name)]):
        answer = ask(lines, arguments)
        if answer is None:
            print(
                "The vulnerability service could not be reached (see above), so nothing is known: try again later,"
                " or with --vulnerability-service osv.",
                file=sys.stderr,
            )
            return NOBODY_KNOWS
        told += answer
    code, sentences = verdict(told)
    print("\n".join(sentences), file=sys.stderr if code else sys.stdout)
    return code


def main(arguments: list[str]) -> int:
    """`--only-sbom`: ask nobody. Other arguments go to pip-audit."""
    write_sbom()
    if arguments == ["--only-sbom"]:
        print(f"The list of parts is in {SBOM.relative_to(ROOT)}.")
        return NOTHING
    return audit(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
