"""The links of what surrounded a run: its code, and the image that it ran in."""

from __future__ import annotations

from pathlib import Path

from trackyard.errors import DataError, EnvironmentLacking
from trackyard.record.code import DETERMINING, CodeIdentity, code_identity, difference
from trackyard.record.image import IMAGE_FILE_VARIABLE, KIND, find_image
from trackyard.record.image_lock import CONTAINERS, IMAGE_LOCK
from trackyard.record.lineage.links import Claim, Hashed, Link
from trackyard.runner import Runner

NOTHING = "nothing"
_TRUSTING = "trackyard lineage verify PATH --trust code"


def code_link(code: CodeIdentity, repository: Path, runner: Runner, *, before: str) -> Link:
    """The code of a run. before: what names begin with, empty for the run that is asked about.

    The code at hand must be that of the run, by content. A parent's may be older: then its commit in the history of
    the checkout is enough, where nothing was uncommitted, since the name of a commit is a digest of its content.
    """
    found = difference(repository, code.commit, runner)
    facts = {
        "commit": code.commit,
        "uncommitted": code.dirty_digest or NOTHING,
        "in this checkout": "no" if found is None else "yes",
    }
    absent, fix = None, _restored(code)
    if found is None:
        fix = f"git fetch --all   (brings commit {code.commit} here if it was pushed), or {_TRUSTING}"
        try:
            claims = _identity_claims(code, code_identity(repository, runner))
        except EnvironmentLacking as error:
            claims, absent, fix = (), error.what, error.fix
    elif before and code.dirty_digest is None:
        claims = (Claim(what="commit in the history of the checkout", expected=code.commit, found=code.commit),)
    else:
        what = f"digest of what differs from commit {code.commit}"
        claims = (
            Claim(what=what, expected=code.dirty_digest or NOTHING, found=found.dirty_digest or NOTHING),
        )  # fmt: skip
    return Link(kind="code", name=f"{before}code", fix=fix, facts=facts, claims=claims, absent=absent)


def _identity_claims(code: CodeIdentity, here: CodeIdentity) -> tuple[Claim, ...]:
    """Where git does not know the commit: the names alone."""
    return (
        Claim(what="commit", expected=code.commit, found=here.commit),
        Claim(what="uncommitted changes", expected=code.dirty_digest or NOTHING, found=here.dirty_digest or NOTHING),
    )


def _restored(code: CodeIdentity) -> str:
    """The command that brings the code back, where the checkout has its commit."""
    if code.dirty_digest is not None:
        return f"{_TRUSTING}   (uncommitted changes are kept nowhere)"
    restore = f"git restore --source={code.commit} --staged --worktree -- {' '.join(DETERMINING)}"
    return f"{restore}, or {_TRUSTING}   (the first overwrites what is not committed there)"


def image_link(image: str, repository: Path, *, before: str) -> Link:
    """The image of a run, and its file where that is found."""
    name, facts = f"{before}image", {"digest": image}
    fix = (
        f"put or link it into {CONTAINERS}/ under the name in {IMAGE_LOCK}, or export {IMAGE_FILE_VARIABLE}=<path of "
        "the image file>; where runs had several images, those of the lock are found by it, and the variable is for "
        "another one"
    )
    digest = image.removeprefix(KIND)
    if digest == image:
        return Link(kind="image", name=name, fix=fix, facts=facts, absent=f"{image} is no sha256 of a file")
    try:
        path = find_image(repository, digest)
    except DataError as error:
        return Link(kind="image", name=name, fix=error.fix, facts=facts, absent=error.what)
    if path is None:
        place = f"{CONTAINERS}/ under its name in {IMAGE_LOCK}"
        absent = f"no file of {image} is in {place}, or is named by {IMAGE_FILE_VARIABLE}"
        return Link(kind="image", name=name, fix=fix, facts=facts, absent=absent)
    return Link(
        kind="image",
        name=name,
        fix=fix,
        facts=facts | {"file": str(path)},
        files=(Hashed(path=path, algorithm="sha256", digest=digest),),
    )
