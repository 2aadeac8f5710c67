"""What is installed in an image, as CycloneDX 1.5 and as a list that people read. Source: CycloneDX 1.5 JSON, purl."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trackyard import __version__
from trackyard.errors import DataError, TrackyardError
from trackyard.launch.image.entering import Entering, entering_argv, entering_environment
from trackyard.runner import Runner

FORMAT, VERSION = "CycloneDX", "1.5"
_NAMESPACE = uuid.UUID("6f2d2a7e-0c8f-5a4e-9d0b-7a5c1f3e2b90")
_LIST = """
import importlib.metadata as m, json, platform, subprocess
apt = subprocess.run(["dpkg-query", "-W", "-f", "${Package}\\t${Version}\\t${Architecture}\\n"],
                     check=True, capture_output=True, text=True).stdout
os = platform.freedesktop_os_release()
print(json.dumps({"apt": [line.split("\\t") for line in apt.splitlines()],
                  "pip": [[d.metadata["Name"], d.version] for d in m.distributions()],
                  "distribution": os["ID"], "release": os.get("VERSION_ID", ""),
                  "python": platform.python_version()}))
"""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Package:
    """One package. purl: its package URL, the same for the same package everywhere."""

    kind: str
    name: str
    version: str
    purl: str


def packages_inside(image: Path, digest: str, workdir: Path, runner: Runner) -> tuple[Package, ...]:
    """Packages of the distribution and of Python in an image, by kind and name, as the image itself lists them.

    Isolated: what lies in `workdir`, where it starts, is not installed. TrackyardError where it cannot say: no python3,
    no dpkg-query, or nothing installed by either.
    """
    entering = Entering(image=image, digest=digest, command=("python3", "-I", "-c", _LIST), workdir=workdir, gpus=False,
                        environment={"PYTHONNOUSERSITE": "1"})  # fmt: skip
    done = runner.run(
        entering_argv(entering), env=entering_environment(entering, os.environ), cwd=workdir, timeout_s=300.0
    )
    try:
        found = json.loads(done.stdout) if done.exit_code == 0 else {}
    except json.JSONDecodeError:
        found = {}
    if not found.get("apt") or not found.get("pip"):
        raise TrackyardError(
            what=f"{image} does not say what is installed in it, code {done.exit_code}: {done.stderr.strip()[-500:]}",
            why="an image whose packages nobody knows cannot be compared with a lock",
            fix=f"apptainer exec {image} python3 -c 'import importlib.metadata', and the same with dpkg-query -W",
        )
    system = f"{found['distribution']}-{found['release']}".rstrip("-")
    apt = {
        Package(kind="apt", name=name, version=version,
                purl=f"pkg:deb/{found['distribution']}/{_part(name)}@{_part(version)}?arch={_part(arch)}&distro={_part(system)}")
        for name, version, arch in found["apt"]
    }  # fmt: skip
    pip = {
        Package(kind="pip", name=name, version=version, purl=f"pkg:pypi/{_part(_normal(name))}@{_part(version)}")
        for name, version in found["pip"]
    }
    return tuple(sorted(apt | pip))


def package_list(packages: Sequence[Package]) -> str:
    """One line for each package: kind, name and version, separated by tabs."""
    return "".join(f"{one.kind}\t{one.name}\t{one.version}\n" for one in packages)


def sbom_document(name: str, sif_sha256: str, packages: Sequence[Package]) -> dict[str, Any]:
    """The bill of materials of an image. The same image gives the same document: it names no time."""
    return {
        "bomFormat": FORMAT,
        "specVersion": VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, sif_sha256)}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "trackyard", "version": __version__}]},
            "component": {
                "type": "container",
                "bom-ref": f"image:{name}",
                "name": name,
                "version": f"sha256:{sif_sha256}",
                "hashes": [{"alg": "SHA-256", "content": sif_sha256}],
            },
        },
        "components": [
            {"type": "library", "bom-ref": one.purl, "name": one.name, "version": one.version, "purl": one.purl}
            for one in packages
        ],
    }


def require_sbom(document: Any, where: str, *, sif_sha256: str) -> int:
    """Prove that a document is a CycloneDX 1.5 bill of the image, and return the number of its components.

    Checked is what the format demands of the parts used here, and that it is about these bytes. DataError names what
    is wrong.
    """
    wrong = _wrong(document, sif_sha256)
    if wrong is not None:
        raise DataError(
            what=f"{where}: {wrong}",
            why=f"it is to be the {FORMAT} {VERSION} bill of materials of sha256:{sif_sha256}",
            fix="trackyard image lock NAME --from FILE.sif   reads the packages of the image again",
        )
    return len(document["components"])


def _wrong(document: Any, sif_sha256: str) -> str | None:
    if not isinstance(document, dict) or (document.get("bomFormat"), document.get("specVersion")) != (FORMAT, VERSION):
        return f"no {FORMAT} {VERSION} document"
    if not isinstance(document.get("version"), int) or document["version"] < 1:
        return f"version {document.get('version')!r} is no number from 1"
    serial = document.get("serialNumber")
    if not re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(serial)):
        return f"serialNumber {serial!r} is no urn:uuid"
    component = (document.get("metadata") or {}).get("component") or {}
    if component.get("hashes") != [{"alg": "SHA-256", "content": sif_sha256}]:
        return f"it is about the hashes {component.get('hashes')}"
    components = document.get("components")
    if not isinstance(components, list) or not components:
        return "it lists no component"
    seen: set[str] = set()
    for number, one in enumerate(components):
        if not isinstance(one, dict) or not all(isinstance(one.get(key), str) and one[key]
                                                for key in ("type", "name", "version", "purl", "bom-ref")):  # fmt: skip
            return f"component {number} lacks a type, name, version, purl or bom-ref"
        if not re.fullmatch(r"pkg:(deb/[a-z]+|pypi)/[^@?/]+@[^@?/]+(\?[^?]+)?", one["purl"]):
            return f"component {number} has the purl {one['purl']!r}"
        if one["bom-ref"] in seen:
            return f"component {number} has the bom-ref {one['bom-ref']!r} of another one"
        seen.add(one["bom-ref"])
    return None


def _normal(name: str) -> str:
    """As package URLs have names of Python packages."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _part(text: str) -> str:
    return quote(text, safe=".-_~")
