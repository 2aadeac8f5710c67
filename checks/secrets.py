"""Find what must never be published: credentials, package registry addresses, paths of one machine.

    python -m checks.secrets

Reads every file of the next commit and its name, and every line that history added (credentials only: what was once
committed stays readable). Exit 0: clean, 1: found something or examined nothing. A line in tests/ may carry the comment
`secret-scan: allow`; nowhere else is there an exception.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from checks.repository import ROOT, files, git

ALLOW = "secret-scan: allow"
HISTORY_COMMITS = 2000
"""Newest commits whose added lines are read; the report says when there are more."""

_SECRET_NAMES = r"(?:api[_-]?key|secret(?:[_-]?(?:access[_-]?)?key)?|token|passw(?:or)?d|passphrase|credential)"
CREDENTIALS = {
    "Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"),
    "AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,})\b"),
    "GitLab, Slack, Google, PyPI or model-provider key": re.compile(
        r"\b(?:glpat-[\w-]{20,}|xox[abeoprs]-[\w-]{10,}|AIza[\w-]{35}|pypi-AgE[\w-]{50,}|sk-(?:[a-z]+-)*\w{32,})"
    ),
    "private key": re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY"),
}
"""Formats that are a credential wherever they occur, also inside a binary file."""

URL_USERINFO = re.compile(r"://[^\s/@:\"'<>`]{1,200}:(?P<value>[^\s/@\"'<>`]{1,200})@")
ASSIGNMENT = re.compile(
    rf"{_SECRET_NAMES}[\"']?\s{{0,9}}[:=]\s{{0,9}}(?:\"(?P<double>[^\"\s]{{16,}})\"|'(?P<single>[^'\s]{{16,}})'"
    r"|(?P<bare>[A-Za-z0-9+/=-]{20,})(?=\s|$))",
    re.IGNORECASE | re.MULTILINE,
)
MIN_ENTROPY = 3.5
"""Bits per character; random base64 of 20 characters has about 4.1, English words and identifiers about 3."""

REGISTRY = re.compile(
    r"(?:pypi\.org/simple|files\.pythonhosted\.org|registry\.npmjs\.org|proxy\.golang\.org|index\.crates\.io"
    r"|(?:^|[\s\"'_-])(?:extra[_-])?index[_-]url[\"']?\s*[=: ]\s*[\"']?(?:https?|file):)",
    re.IGNORECASE | re.MULTILINE,
)
CREDENTIAL_FILE = re.compile(
    r"(?:^|/)(?:\.env(?:\..+)?|\.netrc|\.pypirc|\.npmrc|id_(?:rsa|dsa|ecdsa|ed25519)|credentials|config\.local"
    r"|[^/]+\.(?:pem|p12|pfx|keystore))$"
)
# fmt: off
_STANDARD_FOLDERS = frozenset((
    "bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv",
    "sys", "tmp", "usr", "var",
))
# fmt: on


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that must not be published. where: `path:line`; the path alone for a name; history adds the commit."""

    where: str
    rule: str
    excerpt: str
    """The first characters of what was matched: enough to find it, not enough to use it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was examined, and what was found in it."""

    files: int
    commits: int
    commits_left_out: int
    findings: tuple[Finding, ...]


def entropy(text: str) -> float:
    """Shannon entropy of the characters of `text`, bits per character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def machine_paths(checkout: Path) -> re.Pattern[str]:
    """Matches home folders, and the folder of this machine that holds the checkout.

    The checkout's top folder counts as the machine's own unless every Linux system has one of that name.
    """
    alternatives = [r"/(?:home|Users)/[a-z][\w.-]*/", r"/root/[\w.]"]
    parts = checkout.parts
    if len(parts) > 2:
        alternatives.append(re.escape(str(checkout)) + r"(?![\w.-])")
        if parts[1] not in _STANDARD_FOLDERS:
            alternatives.append(re.escape(f"/{parts[1]}/") + r"\w")
    return re.compile(rf"(?<![\w.~$}}*])(?:{'|'.join(alternatives)})")


def _fixed_formats(text: str) -> Iterator[tuple[re.Match[str], str]]:
    for rule, pattern in CREDENTIALS.items():
        yield from ((match, rule) for match in pattern.finditer(text))


def _credentials(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Fixed formats, then what only its surroundings give away; placeholders such as ${PASSWORD} are no secret."""
    yield from _fixed_formats(text)
    for match in URL_USERINFO.finditer(text):
        if match["value"][0] not in "${%*[":
            yield match, "user and password in a URL"
    for match in ASSIGNMENT.finditer(text):
        value = match["double"] or match["single"] or match["bare"]
        mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
        if mixed and value[0] not in "${%<" and entropy(value) >= MIN_ENTROPY:
            yield match, "high-entropy value of a key, token or password"


def _findings(text: str, matches: Iterator[tuple[re.Match[str], str]], *, path: str, prefix: str) -> Iterator[Finding]:
    for match, rule in matches:
        start = text.rfind("\n", 0, match.start()) + 1
        end = text.find("\n", match.end())
        line = text[start : end if end >= 0 else len(text)]
        if ALLOW in line and path.startswith("tests/"):
            continue
        number = text.count("\n", 0, match.start()) + 1
        yield Finding(where=f"{prefix}{path}:{number}", rule=rule, excerpt=f"{match[0].strip()[:12]}…")


def scan_file(path: str, data: bytes, *, machine: re.Pattern[str]) -> list[Finding]:
    """Findings in one file's name and content."""
    found = []
    if CREDENTIAL_FILE.search(path):
        found.append(Finding(where=path, rule="a file name that holds credentials", excerpt=Path(path).name))
    found += [Finding(where=path, rule=rule, excerpt=f"{m[0][:12]}…") for m, rule in _fixed_formats(path)]
    if b"\0" in data:
        text = data.decode("latin-1")
        return found + list(_findings(text, _fixed_formats(text), path=path, prefix=""))
    text = data.decode("utf-8", errors="replace")
    found += _findings(text, _credentials(text), path=path, prefix="")
    found += _findings(text, ((m, "package registry address") for m in REGISTRY.finditer(text)), path=path, prefix="")
    found += _findings(text, ((m, "path of one machine") for m in machine.finditer(text)), path=path, prefix="")
    return found


def scan_history(root: Path, *, limit: int = HISTORY_COMMITS) -> tuple[int, int, list[Finding]]:
    """Credentials in lines added by the newest `limit` commits: (commits read, commits left out, findings).

    Line numbers of a finding count the lines that its commit added to the file.
    """
    if not git(root, "rev-list", "--all", "--max-count=1").strip():
        return 0, 0, []
    total = int(git(root, "rev-list", "--all", "--count"))
    log = git(root, "log", "--all", f"--max-count={limit}", "--format=%x00%h", "-p", "-U0", "-m", "--no-color",
              "--no-ext-diff", "--no-textconv", "--no-renames")  # fmt: skip
    found: dict[Finding, None] = {}  # a merge shows a line once per parent
    for commit in log.split("\0")[1:]:
        name, _, diff = commit.partition("\n")
        added: dict[str, list[str]] = {}
        path = ""
        in_header = True
        for line in diff.split("\n"):
            if line.startswith("diff --git "):
                in_header = True
            elif line.startswith("@@"):
                in_header = False
            elif in_header and line.startswith("+++ b/"):
                path = line.removeprefix("+++ b/").rstrip("\t")
            elif not in_header and line.startswith("+"):
                added.setdefault(path, []).append(line[1:])
        for path, lines in added.items():
            text = "\n".join(lines)
            found.update(dict.fromkeys(_findings(text, _credentials(text), path=path, prefix=f"{name[:12]} ")))
    return min(total, limit), max(0, total - limit), list(found)


def scan(root: Path) -> Report:
    """Examine the files of the next commit and the lines that history added."""
    machine = machine_paths(root)
    names = files(root)
    found: list[Finding] = []
    for name in names:
        path = root / name
        data = bytes(path.readlink()) if path.is_symlink() else path.read_bytes()
        found += scan_file(name, data, machine=machine)
    commits, left_out, in_history = scan_history(root)
    return Report(files=len(names), commits=commits, commits_left_out=left_out, findings=(*found, *in_history))


def main(root: Path = ROOT) -> int:
    report = scan(root)
    for finding in report.findings:
        print(f"{finding.where}: {finding.rule}: {finding.excerpt}", file=sys.stderr)
    older = f" ({report.commits_left_out} older commits not read)" if report.commits_left_out else ""
    print(
        f"secrets: {report.files} files and {report.commits} commits{older} examined, {len(report.findings)} findings"
    )
    if report.files == 0:
        print("secrets: no file was examined, so nothing is known", file=sys.stderr)
    return 1 if report.findings or report.files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
