"""`trackyard image build`: from a definition to locked bytes. Source: hpc spec sections 1.1, 1.2 and 1.4."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from trackyard.durable import TEMPORARY, fsync_directory, fsync_file
from trackyard.errors import ConfigError, TrackyardError
from trackyard.launch.image.arguments import FILES, WHEELS, build_arguments, sha256_of, used_arguments
from trackyard.launch.image.describing import apptainer_version, describe
from trackyard.launch.image.finding import image_folder
from trackyard.launch.image.lock_file import CONTAINERS, Locked, locking, read_lock, relock
from trackyard.launch.image.space import expected_bytes, require_space
from trackyard.launch.image.wheels import collect_wheels
from trackyard.launch.sites import Site
from trackyard.runner import Runner

LOG = ".build.log"
"""Behind the name of an image, in containers/: what its last build said."""
COMPRESSION = "-comp zstd -Xcompression-level 6"
"""Of the image file: measured a ninth of the processor time of mksquashfs's own choice (gzip), and 5 % smaller."""
_PASSING = frozenset(
    ("APPTAINER_DOCKER_PASSWORD", "APPTAINER_DOCKER_USERNAME", "HOME", "LANG", "LOGNAME", "PATH", "SSL_CERT_DIR",
     "SSL_CERT_FILE", "TERM", "USER", "XDG_RUNTIME_DIR")
)  # fmt: skip
"""Of the environment, to `apptainer build`: programs, who it is, and credentials of a registry."""
_PROXIES = frozenset(("all_proxy", "http_proxy", "https_proxy", "no_proxy"))


def build(
    root: Path, name: str, runner: Runner, *, site: Site | None, given: Mapping[str, str], temporary: Path | None,
    say: Callable[[str], None], timeout_s: float = 6 * 3600.0,
) -> Locked:  # fmt: skip
    """Build containers/`name`.def, run its test, and lock what came out. given: build arguments, by name.

    temporary: where it is unpacked; None: APPTAINER_TMPDIR, else the system's. The image appears under its name when
    it is complete, and the lock speaks of it last. Raises EnvironmentLacking where room or apptainer is lacking,
    ConfigError for arguments, TrackyardError where apptainer fails or another process builds for this checkout.
    """
    definition = _definition(root, name)
    apptainer_version(runner)
    arguments = build_arguments(root, name, definition.decode(), given, runner)
    folder = image_folder(root, site)
    folder.mkdir(parents=True, exist_ok=True)
    place = temporary or Path(os.environ.get("APPTAINER_TMPDIR") or tempfile.gettempdir())
    if not place.is_dir():
        raise ConfigError(
            what=f"{place} is no directory",
            why="the image is unpacked there while it is built",
            fix=f"mkdir -p {place}, or trackyard image build {name} --tmp DIR",
        )
    before = read_lock(root).images.get(name)
    expected = expected_bytes(name, before.sif_bytes if before else None)
    require_space(name, expected, unpacked=place, written=folder)
    with locking(root), tempfile.TemporaryDirectory(prefix="trackyard-image-", dir=place) as scratch:
        work = Path(scratch)
        if WHEELS in used_arguments(definition.decode()) and WHEELS not in arguments:
            wheels = work / "wheels"
            wheels.mkdir()
            say(f"{name}: collecting the packages of requirements.lock")
            sources = root / CONTAINERS / f"{name}.lock"
            brought = collect_wheels(root, wheels, runner, sources=sources if sources.is_file() else None)
            say(f"{name}: {brought} packages")
            arguments[WHEELS] = str(wheels)
        if _definition(root, name) != definition:
            raise TrackyardError(
                what=f"{CONTAINERS}/{name}.def was changed while its packages were collected",
                why="the lock would name a definition that was not built",
                fix=f"trackyard image build {name}",
            )
        partial = folder / f"{TEMPORARY}{name}.{os.getpid()}.sif"
        log = root / CONTAINERS / f"{name}{LOG}"
        say(f"{name}: building; to watch it: tail -f {log.relative_to(root)}")
        try:
            _apptainer_build(root, name, partial, log, arguments, work, runner, timeout_s)
            recorded = {key: value for key, value in arguments.items() if key not in FILES}
            locked = describe(root, name, partial, runner, def_sha256=sha256_of(definition), build_args=recorded)
            fsync_file(partial)
            os.replace(partial, folder / locked.file)
            fsync_directory(folder)
            # At once: whatever fails from here on, the lock speaks of the file that is there.
            relock(root, name, locked)
        finally:
            partial.unlink(missing_ok=True)
    return locked


def _definition(root: Path, name: str) -> bytes:
    path = root / CONTAINERS / f"{name}.def"
    if not path.is_file():
        there = ", ".join(sorted(one.stem for one in path.parent.glob("*.def"))) or "none"
        raise ConfigError(
            what=f"there is no definition of an image {name!r}",
            why=f"{CONTAINERS}/ has {there}",
            fix=f"name one of them, or write {CONTAINERS}/{name}.def",
        )
    return path.read_bytes()


def _apptainer_build(
    root: Path, name: str, target: Path, log: Path, arguments: Mapping[str, str], work: Path, runner: Runner,
    timeout_s: float,
) -> None:  # fmt: skip
    """Source paths of `%files` count from the repository. The log is written while it grows: builds take long."""
    build_argv = ["apptainer", "build", "--force", "--fakeroot", "--mksquashfs-args", COMPRESSION]
    for key in sorted(arguments):
        build_argv += ["--build-arg", f"{key}={arguments[key]}"]
    build_argv += [str(target), (CONTAINERS / f"{name}.def").as_posix()]
    done = runner.run(
        ["sh", "-c", 'log=$1; shift; exec "$@" >"$log" 2>&1 </dev/null', "sh", str(log), *build_argv],
        cwd=root, env=build_environment(os.environ, work), timeout_s=timeout_s,
    )  # fmt: skip
    if done.exit_code != 0 or not target.is_file():
        said = log.read_text(errors="replace").strip() if log.is_file() else done.stderr.strip()
        raise TrackyardError(
            what=f"apptainer build of {name} ended with {done.exit_code}: …{said[-1200:]}",
            why="an image that was not built, or fails its own test, is not locked; the earlier one is untouched",
            fix=f"read {log.relative_to(root)}, correct it, then trackyard image build {name}",
        )


def build_environment(environment: Mapping[str, str], work: Path) -> dict[str, str]:
    """What `apptainer build` is given: `%test` sees it, and caches and paths of this machine are none of its business.

    Nothing of apptainer's own passes but credentials of a registry.
    APPTAINER_NO_MOUNT: else `%post` writes into this machine's temporary directories. APPTAINER_USERNS must not be
    there: it would take the range of ids from `--fakeroot`. The cache is kept only where one is named, since the
    default lies in the home directory.
    """
    kept = {name: value for name, value in environment.items() if name in _PASSING or name.lower() in _PROXIES}
    return kept | {
        "APPTAINER_NO_MOUNT": "tmp",
        "APPTAINER_TMPDIR": str(work),
        "APPTAINER_CACHEDIR": environment.get("APPTAINER_CACHEDIR") or str(work / "cache"),
    }
