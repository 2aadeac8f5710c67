"""From a definition to a locked file: what apptainer is given, what is kept, and what stops before or after it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.small_image import NAME, git
from tests.launch.image.fake_apptainer import FakeApptainer
from trackyard.acquire.places import Room
from trackyard.errors import ConfigError, DataError, EnvironmentLacking, TrackyardError
from trackyard.launch.image import space
from trackyard.launch.image.building import build, build_environment
from trackyard.launch.image.lock_file import Locked, locking, read_lock
from trackyard.launch.sites import Partition, Site, Storage
from trackyard.runner import Finished


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make(root: Path, apptainer: FakeApptainer, name: str = NAME, site: Site | None = None, **given: str) -> Locked:
    given = given or {"BASE": str(root.parent / "base.sif")}
    return build(root, name, apptainer, site=site, given=given, temporary=None, say=lambda _: None)


def test_what_came_out_is_locked(root: Path, apptainer: FakeApptainer) -> None:
    locked = make(root, apptainer)
    assert read_lock(root).images == {NAME: locked}
    assert (root / "containers" / "small.sif").read_bytes() == b"image"
    assert (locked.sif_sha256, locked.sif_bytes, locked.digest) == (sha(b"image"), 5, f"sha256:{sha(b'image')}")
    assert locked.def_sha256 == sha((root / "containers" / "small.def").read_bytes())
    assert locked.package_lock_sha256 == sha(b"tiny==1.0\n")
    assert (locked.base.name, locked.base.digest) == ("debian", "sha256:" + "b" * 64)
    assert (locked.cuda, locked.driver_min, locked.apptainer_version) == ("13.0", "580", "1.4.5")
    assert locked.created == "2026-01-02T03:04:05Z"
    assert sorted(locked.build_args) == ["BASE_DIGEST", "BASE_NAME", "CREATED", "LOCK_SHA256", "REVISION", "VERSION"]
    assert locked.build_args["BASE_DIGEST"] == f"sha256:{sha(b'base')}"
    assert locked.build_args["REVISION"] == git(root, "rev-parse", "HEAD")
    assert str(root) not in (root / "containers" / "image.lock.json").read_text(), "paths of one machine are not kept"
    assert json.loads((root / locked.sbom).read_text())["bomFormat"] == "CycloneDX"
    assert "pip\tTiny_Thing\t1.0+cpu\n" in (root / locked.packages).read_text()
    assert not list((root / "containers").glob(".partial-*"))


def test_what_apptainer_is_given(root: Path, apptainer: FakeApptainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPTAINER_USERNS", "1")
    monkeypatch.setenv("APPTAINERENV_PYTHONPATH", "/evil")
    make(root, apptainer)
    words, environment = apptainer.built()
    assert words[:4] == ["apptainer", "build", "--force", "--fakeroot"]
    assert words[-1] == "containers/small.def", "sources of %files count from the repository"
    assert Path(words[-2]).name.startswith(".partial-"), "a half written image has no final name"
    given = [word.partition("=")[0] for word in words if "=" in word]
    assert given == ["BASE", "BASE_DIGEST", "BASE_NAME", "CREATED", "LOCK_SHA256", "REVISION", "VERSION", "WHEELS"]
    assert environment["APPTAINER_NO_MOUNT"] == "tmp"
    assert not {"APPTAINER_USERNS", "APPTAINERENV_PYTHONPATH"} & set(environment)
    work = environment["APPTAINER_TMPDIR"]
    assert environment["APPTAINER_CACHEDIR"] == f"{work}/cache", "the default lies in the home directory"
    assert not Path(work).exists(), "the scratch directory is removed"


def test_a_cache_that_is_named_is_kept() -> None:
    host = {"PATH": "/bin", "HTTPS_PROXY": "http://proxy:1", "TORCHINDUCTOR_CACHE_DIR": "/here", "PYTHONPATH": "/here"}
    assert set(build_environment(host, Path("/w"))) & set(host) == {"PATH", "HTTPS_PROXY"}
    assert build_environment({"APPTAINER_CACHEDIR": "/c"}, Path("/w"))["APPTAINER_CACHEDIR"] == "/c"


def test_a_failed_build_leaves_the_earlier_image(root: Path, apptainer: FakeApptainer) -> None:
    before = make(root, apptainer)
    apptainer.build_code, apptainer.content = 255, b"other"
    with pytest.raises(TrackyardError, match="ended with 255: …what the build said") as raised:
        make(root, apptainer)
    assert "containers/small.build.log" in raised.value.fix
    assert read_lock(root).images == {NAME: before}
    assert (root / "containers" / "small.sif").read_bytes() == b"image"


@pytest.mark.parametrize("name", ["org.opencontainers.image.revision", "org.trackyard.lock"])
def test_an_image_that_lacks_a_label_is_not_locked(root: Path, apptainer: FakeApptainer, name: str) -> None:
    apptainer.labels[name] = " "
    with pytest.raises(DataError, match=f"lacks the labels {name}"):
        make(root, apptainer)
    assert read_lock(root).images == {}
    assert not list((root / "containers").glob("*.sif"))


def test_a_base_without_a_digest_is_not_locked(root: Path, apptainer: FakeApptainer) -> None:
    apptainer.labels["org.opencontainers.image.base.digest"] = "bookworm-slim"
    with pytest.raises(DataError, match="digest='bookworm-slim'"):
        make(root, apptainer)
    assert read_lock(root).images == {}


def test_other_images_of_the_lock_stay(root: Path, apptainer: FakeApptainer) -> None:
    first = make(root, apptainer)
    shutil.copy(root / "containers" / "small.def", root / "containers" / "other.def")
    apptainer.labels["org.opencontainers.image.title"] = "trackyard-other"
    make(root, apptainer, "other")
    assert read_lock(root).images[NAME] == first
    assert list(read_lock(root).images) == ["other", NAME]


def test_the_image_goes_to_the_store_of_the_site(
    root: Path, apptainer: FakeApptainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(name="s", default_partition="p", partitions={"p": Partition(device="any", cores_per_node=1)},
                image_store=Storage(path_variable="IMAGES_HERE"))  # fmt: skip
    monkeypatch.delenv("IMAGES_HERE", raising=False)
    with pytest.raises(EnvironmentLacking, match="IMAGES_HERE is not set"):
        make(root, apptainer, site=site)
    monkeypatch.setenv("IMAGES_HERE", str(tmp_path / "store"))
    first = make(root, apptainer, site=site)
    apptainer.content = b"of another checkout"
    second = make(root, apptainer, site=site)
    kept = {locked.file: sha((tmp_path / "store" / locked.file).read_bytes()) for locked in (first, second)}
    assert kept == {f"small-{one.sif_sha256[:12]}.sif": one.sif_sha256 for one in (first, second)}, "none is replaced"
    assert len(kept) == 2
    assert not list((root / "containers").glob("*.sif"))


def test_a_definition_that_changes_while_packages_are_collected_is_not_built(root: Path) -> None:
    class Edited(FakeApptainer):
        def run(self, argv: Sequence[str], **named: Any) -> Finished:
            if "wheel" in argv:
                path = root / "containers" / f"{NAME}.def"
                path.write_text(path.read_text().replace("set -eu", "set -e"))
            return super().run(argv, **named)

    apptainer = Edited()
    with pytest.raises(TrackyardError, match="changed while its packages were collected"):
        make(root, apptainer)
    assert read_lock(root).images == {}
    assert not [words for words, _ in apptainer.calls if words[0] == "sh"], "nothing was built"


def test_the_revision_says_when_something_was_not_committed(root: Path, apptainer: FakeApptainer) -> None:
    make(root, apptainer)
    (root / ".gitignore").write_text("")
    assert git(root, "status", "--porcelain", "containers"), "a build writes there"
    assert not make(root, apptainer).build_args["REVISION"].endswith("-dirty"), "what a build writes does not count"
    (root / "containers" / "prove.py").write_text("pass\n")
    assert make(root, apptainer).build_args["REVISION"].endswith("-dirty")


def test_arguments_are_complete_and_used(root: Path, apptainer: FakeApptainer) -> None:
    with pytest.raises(ConfigError, match="needs the build argument BASE\n") as raised:
        make(root, apptainer, BASE_NAME="b", BASE_DIGEST="sha256:1")
    assert raised.value.fix.startswith("trackyard image build small --build-arg BASE=...")
    assert "BASE_DIGEST" not in raised.value.fix
    with pytest.raises(ConfigError, match="needs the build argument BASE\n") as raised:
        make(root, apptainer, SOURCE="x")
    assert "--build-arg BASE=...   (" in raised.value.fix, "what is read from it is not typed by hand"
    for name in ("BASE_NAME", "BASE_DIGEST"):
        with pytest.raises(ConfigError, match=f"--build-arg {name} is given beside BASE"):
            make(root, apptainer, BASE=str(root.parent / "base.sif"), **{name: "sha256:" + "d" * 64})
    with pytest.raises(ConfigError, match=r"FLAVOUR: containers/small\.def does not use it"):
        make(root, apptainer, FLAVOUR="x")
    with pytest.raises(ConfigError, match=r"BASE=gone\.sif: there is no such file"):
        make(root, apptainer, BASE="gone.sif")
    with pytest.raises(ConfigError, match="no definition of an image 'big'"):
        make(root, apptainer, "big")
    with pytest.raises(ConfigError, match="gone is no directory"):
        build(root, NAME, apptainer, site=None, given={"BASE": str(root.parent / "base.sif")},
              temporary=root / "gone", say=lambda _: None)  # fmt: skip
    assert not [argv for argv, _ in apptainer.calls if argv[0] == "sh"], "nothing was built"


def test_a_base_of_a_registry_has_a_digest(root: Path, apptainer: FakeApptainer) -> None:
    path = root / "containers" / "small.def"
    text = path.read_text().replace("Bootstrap: localimage", "Bootstrap: docker")
    digest = "sha256:" + "c" * 64
    for base, pinned in (("debian:12", False), (f"debian@{digest[:-1]}", False), (f"debian:12@{digest}", True)):
        path.write_text(text.replace("{{ BASE }}", base))
        if pinned:
            make(root, apptainer, BASE_NAME="debian:12", BASE_DIGEST=digest)
        else:
            with pytest.raises(ConfigError, match="which names no digest"):
                make(root, apptainer, BASE_NAME="debian:12", BASE_DIGEST=digest)


def test_room_is_looked_at_first(root: Path, apptainer: FakeApptainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "room", lambda _: Room(device=1, free_bytes=3 * 10**9, free_inodes=None))
    with pytest.raises(EnvironmentLacking, match=r"no room to build small: where it is unpacked.*where it is written"):
        make(root, apptainer)
    assert not [argv for argv, _ in apptainer.calls if argv[0] == "sh"]


@pytest.mark.parametrize(
    ("free_bytes", "free_inodes", "said"),
    [
        (6 * 10**9, 110_000, None),
        (6 * 10**9, None, None),
        (6 * 10**9 - 10**8, 110_000, "5.9 GB free, 6.0 GB needed"),
        (10**12, 109_999, "109,999 inodes free, 110,000 needed"),
        (10**9, 5, "1.0 GB free, 6.0 GB needed and 5 inodes free, 110,000 needed"),
    ],
)
def test_what_is_there_and_what_is_needed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, free_inodes: int | None, said: str | None
) -> None:
    small, large = tmp_path / "small", Room(device=1, free_bytes=10**12, free_inodes=1)
    given = Room(device=2, free_bytes=free_bytes, free_inodes=free_inodes)
    monkeypatch.setattr(space, "room", lambda path: given if path == small else large)
    if said is None:
        space.require_space("x", 10**9, unpacked=small, written=tmp_path)
        return
    with pytest.raises(EnvironmentLacking) as raised:
        space.require_space("x", 10**9, unpacked=small, written=tmp_path)
    assert raised.value.what == f"no room to build x: where it is unpacked, {small}: {said}"
    assert raised.value.fix.startswith("trackyard image build x --tmp DIR")
    assert "ls -lhS" not in raised.value.fix, "the other place has room: one inode is all it needs"


def test_another_temporary_directory_does_not_help_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, large = Room(device=1, free_bytes=0, free_inodes=None), Room(device=2, free_bytes=10**12, free_inodes=None)
    monkeypatch.setattr(space, "room", lambda path: full if path == tmp_path else large)
    with pytest.raises(EnvironmentLacking, match="where it is written") as raised:
        space.require_space("x", 10**9, unpacked=tmp_path / "a", written=tmp_path)
    assert raised.value.fix == f"remove what nobody needs there: ls -lhS {tmp_path}"


def test_other_files_of_an_image_are_told_from_those_of_others(tmp_path: Path) -> None:
    mine = [f"cpu-{digit * 12}.sif" for digit in "abc"]
    for name in (*mine, "cpu.sif", "cpu-abc.sif", "cpu-2-aaaaaaaaaaaa.sif", "train-aaaaaaaaaaaa.sif", ".cpu.sif"):
        (tmp_path / name).write_bytes(b"")
    assert space.others(tmp_path, "cpu", mine[1]) == [tmp_path / mine[0], tmp_path / mine[2]]
    assert space.others(tmp_path / "absent", "cpu", mine[1]) == []


def test_lock_and_file_agree_where_cleaning_up_fails(
    root: Path, apptainer: FakeApptainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise OSError("a busy file")

    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", fails)
    with pytest.raises(OSError, match="a busy file"):
        make(root, apptainer)
    assert read_lock(root).images[NAME].sif_sha256 == sha((root / "containers" / "small.sif").read_bytes())


def test_a_build_waits_for_nobody_and_writes_over_nobody(root: Path, apptainer: FakeApptainer) -> None:
    with locking(root), pytest.raises(TrackyardError, match=r"image\.lock\.json of .* is in use by"):
        make(root, apptainer)
    assert read_lock(root).images == {}
    make(root, apptainer)


def test_an_image_that_another_definition_titles_is_not_locked(root: Path, apptainer: FakeApptainer) -> None:
    apptainer.labels["org.opencontainers.image.title"] = "trackyard-train"
    with pytest.raises(DataError, match="is titled 'trackyard-train', wanted 'trackyard-small'"):
        make(root, apptainer)
    assert read_lock(root).images == {}
