"""Apptainer and what it needs of this machine; the site's image. Source: hpc spec section 1.1."""

from __future__ import annotations

import getpass
import os
import re
import stat
from pathlib import Path

from trackyard.errors import EnvironmentLacking
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.preflight import Seen, Skipped, Warned

MEASURED = (1, 4)
"""The oldest version that this project's facts were measured with."""
DEVICE = Path("/dev/fuse")
KERNEL = Path("/proc/sys")
SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))
LEAST_IDS = 65536
ROOT = 0
"""Owner of a program that starts containers with the rights of root."""
_INSTALL = "ask the operator for Apptainer 1.4 with squashfuse, or use a site without `image:`"


def present(asked: Asked, where: str | None) -> None:
    """Raise Skipped where no stage is run by Apptainer, EnvironmentLacking where one is and it is absent.

    where: its path; None where there is none.
    """
    if asked.in_image:
        raise Skipped("already inside the image")
    if asked.site.image is None:
        raise Skipped(f"site {asked.site.name} names no image: no stage is run by Apptainer")
    if where is None:
        raise EnvironmentLacking(
            what="apptainer is not on PATH",
            why=f"site {asked.site.name} runs its stages in the image {asked.site.image}",
            fix=_INSTALL,
        )


def version(asked: Asked, where: str | None) -> Seen:
    present(asked, where)
    done = asked.runner.run(["apptainer", "--version"], timeout_s=4.0)
    found = re.search(r"(\d+)\.(\d+)\.\S+", done.stdout)
    if done.exit_code != 0 or found is None:
        raise EnvironmentLacking(
            what=f"`apptainer --version` ends with {done.exit_code}: {(done.stderr or done.stdout).strip()}",
            why="stages run in an image by it",
            fix=_INSTALL,
        )
    if (int(found[1]), int(found[2])) < MEASURED:
        raise Warned(
            what=f"Apptainer {found[0]} at {where}",
            why="what this project knows was measured with 1.4; older ones may mount and pass on signals otherwise",
            fix="ask the operator for Apptainer 1.4 or newer, or prove a run: `trackyard image verify NAME`",
        )
    return Seen(detail=f"Apptainer {found[0]} at {where}", examined=1)


def squashfuse(asked: Asked, where: str | None) -> Seen:
    """One on PATH, or the one that Apptainer brings."""
    present(asked, where)
    folders = [_own_programs(asked), *map(Path, os.get_exec_path(dict(asked.environment)))]
    for folder in folders:
        for name in ("squashfuse_ll", "squashfuse"):
            if os.access(folder / name, os.X_OK) and (folder / name).is_file():
                return Seen(detail=f"{folder / name}", examined=len(folders))
    raise EnvironmentLacking(
        what="there is no squashfuse",
        why="without it the image is unpacked at every start: 10 to 19 s instead of 0.2 s, and its size on disk again",
        fix="ask the operator for squashfuse; Debian: apt-get install squashfuse, Rocky: dnf install squashfuse",
    )


def fuse(asked: Asked, where: str | None, device: Path = DEVICE) -> Seen:
    present(asked, where)
    try:
        if not stat.S_ISCHR(device.stat().st_mode):
            raise OSError(0, "it is no device")
        os.close(os.open(device, os.O_RDWR))
    except OSError as error:
        raise EnvironmentLacking(
            what=f"{device} cannot be opened: {error.strerror}",
            why="image files are mounted through it; without it they are unpacked at every start",
            fix="modprobe fuse && chmod 666 /dev/fuse, by the operator",
        ) from error
    return Seen(detail=f"{device} opens", examined=1)


def user_namespaces(asked: Asked, where: str | None) -> Seen:
    """A container starts in one; really made here, since several settings of a kernel forbid them.

    An Apptainer that is installed setuid starts containers without; only a build as an ordinary user needs one then.
    """
    present(asked, where)
    done = asked.runner.run(["unshare", "--user", "--map-root-user", "true"], timeout_s=4.0)
    if done.exit_code == 0:
        most = (KERNEL / "user" / "max_user_namespaces").read_text().strip()
        return Seen(detail=f"made one; at most {most}", examined=1)
    starter = _own_programs(asked) / "starter-suid"
    problem = _not_setuid(starter, _built_with(asked, "APPTAINER_CONF_FILE"))
    if problem:
        raise EnvironmentLacking(
            what=f"no user namespace can be made: {done.stderr.strip()}; {problem}",
            why="an Apptainer that is not installed setuid starts every container in one",
            fix="sysctl user.max_user_namespaces=15000 (and kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu), "
            "or an Apptainer that is installed setuid (its package apptainer-suid); by the operator",
        )
    return Seen(detail=f"none can be made, and none is needed: {starter} is setuid; build images elsewhere", examined=2)


def _not_setuid(starter: Path, configuration: Path) -> str:
    """Why Apptainer cannot start a container with the rights of root; "" where it can."""
    if not starter.is_file():
        return f"there is no {starter}"
    found = starter.stat()
    if found.st_uid != ROOT or not found.st_mode & stat.S_ISUID:
        return f"{starter} is not setuid by root"
    if os.statvfs(starter).f_flag & os.ST_NOSUID:
        return f"{starter} lies on a file system that is mounted nosuid"
    said = re.search(r"^\s*allow setuid\s*=\s*(\w+)", configuration.read_text(), re.MULTILINE)
    return f"{configuration} says allow setuid = {said[1]}" if said is not None and said[1] != "yes" else ""


def _own_programs(asked: Asked) -> Path:
    """Where Apptainer keeps the programs that it brings."""
    return _built_with(asked, "LIBEXECDIR") / "apptainer" / "bin"


def _built_with(asked: Asked, name: str) -> Path:
    """One of the paths that Apptainer was built with, or moved to."""
    said = asked.runner.run(["apptainer", "buildcfg", name], timeout_s=4.0).stdout.strip()
    return Path(said.partition("=")[2] or said)


def subordinate_ids(asked: Asked, where: str | None, files: tuple[Path, ...] = SUBORDINATE) -> Seen:
    """Needed to build an image only."""
    present(asked, where)
    user, number = getpass.getuser(), str(os.getuid())
    for file in files:
        lines = [line.split(":") for line in file.read_text().splitlines()] if file.is_file() else []
        held = max((int(line[2]) for line in lines if len(line) == 3 and line[0] in (user, number)), default=0)
        if held < LEAST_IDS:
            raise Warned(
                what=f"{file} gives {user} {held} ids",
                why=f"a build with --fakeroot maps the users of a distribution, {LEAST_IDS} ids; running needs none",
                fix=f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}, by the operator; "
                "or build the image elsewhere and copy it",
            )
    return Seen(detail=f"{user} has {LEAST_IDS} subordinate ids or more", examined=len(files))


def image(asked: Asked) -> Seen:
    """The site's image lies there and is the locked one."""
    if asked.site.image is None:
        raise Skipped(f"site {asked.site.name} runs stages in this environment")
    if asked.in_image:
        raise Skipped("already inside the image")
    from trackyard.launch.image.finding import image_of

    path, digest = image_of(asked.root, asked.site)
    return Seen(detail=f"{path}, {digest[:19]}… as locked", examined=1)
