import bz2
import errno
import gzip
import io
import lzma
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.memory import peak_growth
from trackyard.acquire.archives import tar as archive_tar
from trackyard.acquire.archives import tree as archive_tree
from trackyard.acquire.archives.members import RefusedName, relative_path
from trackyard.acquire.archives.unpack import Unpacked, UnpackLimits, unpack
from trackyard.durable import TEMPORARY
from trackyard.errors import ConfigError, DataError, EnvironmentLacking

PLAIN = {"a.txt": b"one", "d/b.bin": bytes(range(256)) * 9, "d/e/empty": b"", "d/e/\u00fc.txt": b"x" * 512}


def tar(path: Path, files: Mapping[str, bytes], *special: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as out:
        for member in special:
            out.addfile(member, io.BytesIO(bytes(member.size)))
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    return path


def zipped(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", method) as out:
        for name, data in files.items():
            member = zipfile.ZipInfo("x")
            member.filename, member.compress_type = name, method
            member.external_attr = mode << 16
            out.writestr(member, data)
    return path


def of(path: Path, files: Mapping[str, bytes]) -> Path:
    return zipped(path, files) if path.suffix == ".zip" else tar(path, files)


def found(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refusal(archive: Path, limits: UnpackLimits | None = None) -> DataError:
    """The error of an archive that is refused, after proof that it left nothing and was kept."""
    before, around = archive.read_bytes(), set(archive.parent.iterdir())
    with pytest.raises(DataError) as caught:
        unpack(archive, archive.parent / "target", limits=limits)
    assert set(archive.parent.iterdir()) == around
    assert archive.read_bytes() == before
    assert str(archive) in caught.value.what
    return caught.value


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_round_trip(tmp_path: Path, form: int) -> None:
    files = PLAIN | ({} if form == tarfile.USTAR_FORMAT else {"long/" + "n" * 200 + "/" + "m" * 200: b"deep"})
    done = unpack(tar(tmp_path / "x.tar", files, form=form), tmp_path / "target")
    assert found(tmp_path / "target") == files
    assert done == Unpacked(files=len(files), bytes=sum(map(len, files.values())))


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


COMPRESSIONS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_compressed_tar_in_one_stream_and_in_several_under_any_name(tmp_path: Path, kind: str) -> None:
    data = tar(tmp_path / "x.tar", PLAIN).read_bytes()
    squeeze = COMPRESSIONS[kind]
    (tmp_path / "one").write_bytes(squeeze(data))
    (tmp_path / "two").write_bytes(squeeze(data[:700]) + squeeze(data[700:]))
    for name in ("one", "two"):
        unpack(tmp_path / name, tmp_path / f"{name}-target")
        assert found(tmp_path / f"{name}-target") == PLAIN


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_zip_round_trip(tmp_path: Path, method: int) -> None:
    unpack(zipped(tmp_path / "x.zip", PLAIN, method), tmp_path / "target")
    assert found(tmp_path / "target") == PLAIN


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_hundreds_of_files_with_progress_and_plain_permissions(tmp_path: Path, suffix: str) -> None:
    draw = random.Random(0)
    files = {f"d{k % 7}/{k:04}.bin": draw.randbytes(draw.randrange(3000)) for k in range(400)}
    seen: list[tuple[int, int]] = []
    unpack(of(tmp_path / f"x.{suffix}", files), tmp_path / "target", progress=lambda *at: seen.append(at))
    assert found(tmp_path / "target") == files
    assert seen == sorted(seen)
    assert seen[-1] == (400, sum(map(len, files.values())))


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_empty_folders_stay_and_set_user_bits_do_not(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    if suffix == "zip":
        zipped(path, {"empty/": b"", "run": b"x"}, mode=0)
        path = zipped(path, {"run": b"x"}, mode=stat.S_IFREG | 0o6777)
    else:
        special = tarfile.TarInfo("run")
        special.mode, special.size = 0o6777, 1
        tar(path, {}, special)
    unpack(path, tmp_path / "target")
    mode = (tmp_path / "target/run").stat().st_mode
    assert not mode & (stat.S_ISUID | stat.S_ISGID | 0o111)


def test_folders_without_files_are_made(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("./empty/inner/")
    folder.type = tarfile.DIRTYPE
    unpack(tar(tmp_path / "x.tar", {"f": b""}, folder), tmp_path / "one")
    unpack(zipped(tmp_path / "x.zip", {"empty/inner/": b"", "f": b""}), tmp_path / "two")
    assert (tmp_path / "one/empty/inner").is_dir()
    assert (tmp_path / "two/empty/inner").is_dir()


PARTS = st.sampled_from(
    ["a", "A", "b", "..", ".", "", "C:", "\\", "\u00e9", "e\u0301", "a\0b", " ", "x" * 256, "\udcff"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.lists(PARTS, min_size=1, max_size=4).map("/".join), min_size=1, max_size=4),
    suffix=st.sampled_from(["zip", "tar"]),
)
def test_whatever_the_names_nothing_lies_outside(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], suffix: str
) -> None:
    if suffix == "zip" and any("\udcff" in name for name in names):
        return  # zipfile writes no such names
    root = tmp_path_factory.mktemp("names")
    with_names = root / "deep/er"
    with_names.mkdir(parents=True)
    archive = with_names / f"x.{suffix}"
    members = dict.fromkeys(names, b"!")
    of(archive, members)
    try:
        done = unpack(archive, with_names / "target")
    except DataError:
        assert [path for path in root.rglob("*") if path.is_file()] == [archive]
        return
    # The name field of a tar header ends at its first NUL byte; of a pax header tarfile drops a slash at the end.
    stored = [name.partition("\0")[0].rstrip("/") if suffix == "tar" else name for name in members]
    expected = {relative_path(name) for name in stored if not name.endswith("/")} - {""}
    inside = found(with_names / "target")
    assert set(inside) == expected
    assert done.files == len(inside)
    assert {path for path in root.rglob("*") if path.is_file()} == {
        archive,
        *(with_names / "target" / name for name in inside),
    }


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize(
    "name", ["../out", "/tmp/out", "a/../../out", "..\\out", "C:/out", "a/../b", "n" * 256, "//x/y", "a\\b"]
)
def test_names_outside_are_refused_with_the_member(tmp_path: Path, suffix: str, name: str) -> None:
    error = refusal(of(tmp_path / f"x.{suffix}", {"good": b"1", name: b"2"}))
    assert repr(name) in error.what


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize("names", [("a/x", "a/X"), ("A/x", "a/y"), ("\u00e9", "e\u0301"), ("a", "a/b")])
def test_names_that_are_one_elsewhere_are_refused(tmp_path: Path, suffix: str, names: tuple[str, str]) -> None:
    assert repr(names[1]) in refusal(of(tmp_path / f"x.{suffix}", dict.fromkeys(names, b"1"))).what


def test_a_name_behind_a_nul_byte_is_judged_whole(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"a#/../../out": b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"a#/", b"a\0/"))
    assert "NUL" in refusal(archive).what
    sneaky = tarfile.TarInfo("x")
    sneaky.pax_headers = {"path": "a\0b"}
    assert "NUL" in refusal(tar(tmp_path / "x.tar", {}, sneaky)).what


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "character device"),
        (tarfile.BLKTYPE, "block device"),
        (tarfile.FIFOTYPE, "named pipe"),
        (tarfile.GNUTYPE_SPARSE, "damaged|sparse"),
        (b"Z", "type b'Z'"),
        (b"V", "type b'V'"),
    ],
)
def test_tar_members_that_are_not_files(tmp_path: Path, kind: bytes, named: str) -> None:
    special = tarfile.TarInfo("link")
    special.type, special.linkname = kind, "../../etc"
    archive = tar(tmp_path / "x.tar", {"link/passwd": b"root"}, special, form=tarfile.GNU_FORMAT)
    error = refusal(archive)
    assert any(word in error.what for word in named.split("|"))


@pytest.mark.parametrize(
    ("mode", "named"),
    [
        (stat.S_IFLNK | 0o777, "symbolic link"),
        (stat.S_IFCHR, "character device"),
        (stat.S_IFBLK, "block device"),
        (stat.S_IFIFO, "named pipe"),
        (stat.S_IFSOCK, "socket"),
        (stat.S_IFDIR, "folder that is named like a file"),
    ],
)
def test_zip_members_that_are_not_files(tmp_path: Path, mode: int, named: str) -> None:
    archive = zipped(tmp_path / "x.zip", {"link": b"../../etc"}, mode=mode)
    error = refusal(archive)
    assert named in error.what
    assert "'link'" in error.what


def test_zip_links_of_windows_and_folders_with_contents(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as out:
        member = zipfile.ZipInfo("junction")
        member.external_attr = 0x400
        out.writestr(member, b"C:/")
    assert "link of Windows" in refusal(tmp_path / "x.zip").what
    assert "folder with 3 bytes" in refusal(zipped(tmp_path / "y.zip", {"d/": b"abc"})).what


def test_tar_files_that_are_named_like_folders(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a/")
    assert "name is that of a folder" in refusal(tar(tmp_path / "x.tar", {}, member)).what


def test_encrypted_zip_members_are_named(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"open": b"1", "secret": b"2"})
    data = bytearray(archive.read_bytes())
    at = data.rfind(b"PK\1\2")
    data[at + 8] |= 1
    archive.write_bytes(data)
    error = refusal(archive)
    assert "'secret'" in error.what
    assert "encrypted" in error.what


def test_zip_with_a_method_of_unbounded_memory(tmp_path: Path) -> None:
    assert "compression method 14" in refusal(zipped(tmp_path / "x.zip", {"a": b"1"}, zipfile.ZIP_LZMA)).what


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_too_many_entries(tmp_path: Path, suffix: str) -> None:
    archive = of(tmp_path / f"x.{suffix}", {str(k): b"" for k in range(101)})
    assert "more than" in refusal(archive, UnpackLimits(max_entries=100)).what
    assert unpack(archive, tmp_path / "target", limits=UnpackLimits(max_entries=101)).files == 101


def test_a_zip_directory_that_hides_entries_from_its_count(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {str(k): b"" for k in range(50)})
    data = bytearray(archive.read_bytes())
    at = data.rfind(b"PK\5\6")
    data[at + 8 : at + 12] = struct.pack("<HH", 5, 5)
    archive.write_bytes(data)
    assert "more than 10 members" in refusal(archive, UnpackLimits(max_entries=10)).what
    assert "50 members, 5 stated" in refusal(archive).what


def test_zip64_directories_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    archive = zipped(tmp_path / "x.zip", {str(k): b"x" for k in range(9)})
    assert b"PK\6\6" in archive.read_bytes()
    assert unpack(archive, tmp_path / "fine").files == 9
    assert "more than 8 members" in refusal(archive, UnpackLimits(max_entries=8)).what


def bomb(path: Path, size: int = 100 << 20) -> Path:
    zeros = bytes(1 << 20)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out, out.open("zeros", "w") as member:
            for _ in range(size >> 20):
                member.write(zeros)
        return path
    opened = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": None}[path.suffix]
    header = tarfile.TarInfo("zeros")
    header.size = size
    with opened(path, "wb") if opened else pa.CompressedOutputStream(str(path), "zstd") as out:
        out.write(header.tobuf())
        for _ in range(size >> 20):
            out.write(zeros)
        out.write(bytes(1024))
    return path


@pytest.mark.parametrize("suffix", ["zip", "gz", "bz2", "zst"])
def test_bombs_are_stopped_in_bounded_memory(tmp_path: Path, suffix: str) -> None:
    archive = bomb(tmp_path / f"x.{suffix}")
    with peak_growth() as grown:
        assert "times as many" in refusal(archive).what
        assert grown() < 100_000_000


def test_zip_members_that_share_one_run_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overlapping members multiply without any of them compressing too well."""
    monkeypatch.setattr(archive_tree, "RATIO_FLOOR_BYTES", 1000)
    archive = zipped(tmp_path / "x.zip", {"same": random.Random(0).randbytes(5000)}, zipfile.ZIP_STORED)
    data = archive.read_bytes()
    at, end = data.rfind(b"PK\1\2"), data.rfind(b"PK\5\6")
    entries = data[at:end] * 500
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 500, 500, len(entries), at, 0)
    archive.write_bytes(data[:at] + entries + tail)
    refusal(archive)


def test_total_bytes_are_limited_and_the_limit_is_inclusive(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"a": bytes(600), "b": bytes(400)})
    assert "more than 999 bytes" in refusal(archive, UnpackLimits(max_bytes=999)).what
    assert unpack(archive, tmp_path / "target", limits=UnpackLimits(max_bytes=1000)).bytes == 1000


def test_an_xz_stream_that_asks_for_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tar(tmp_path / "x.tar", PLAIN).read_bytes()
    (tmp_path / "x.xz").write_bytes(lzma.compress(data, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 8 << 20}]))
    monkeypatch.setattr(archive_tar, "XZ_MEMORY", 4 << 20)
    assert "emory" in refusal(tmp_path / "x.xz").what


def raw_header(name: bytes, size: bytes, kind: bytes) -> bytes:
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT)[:512])
    block[:100] = name.ljust(100, b"\0")
    block[124:136] = size
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_tar_headers_that_state_absurd_sizes(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    huge = b"\x80" + (1 << 60).to_bytes(11, "big")
    negative = b"\xff" + (-1024).to_bytes(11, "big", signed=True)
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE):
        for size in (huge, negative):
            path.write_bytes(raw_header(b"x", size, kind) + bytes(4096))
            refusal(path)


def test_piles_of_tar_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    one = b"11 path=ab\n".ljust(512, b"\0")
    header = raw_header(b"x", b"%011o\0" % 11, tarfile.XHDTYPE)
    path.write_bytes((header + one) * 5000 + bytes(1024))
    refusal(path)
    many = b"".join(b"%d k%04d=v\n" % (11, k) for k in range(200))
    globals_ = raw_header(b"x", b"%011o\0" % len(many), tarfile.XGLTYPE) + many.ljust(-(-len(many) // 512) * 512, b"\0")
    path.write_bytes(globals_ + raw_header(b"a", b"%011o\0" % 0, tarfile.REGTYPE) + bytes(1024))
    assert "200 global headers" in refusal(path).what


@pytest.mark.parametrize("kind", ["tar", "zip", "gz", "bz2", "xz", "zst"])
def test_cut_archives_are_refused_wherever_they_are_cut(tmp_path: Path, kind: str) -> None:
    files = {f"{k}": random.Random(k).randbytes(700) for k in range(6)}
    data = of(tmp_path / f"x.{'zip' if kind == 'zip' else 'tar'}", files).read_bytes()
    data = data.rstrip(b"\0") + bytes(1024) if kind == "tar" else COMPRESSIONS.get(kind, bytes)(data)
    path = tmp_path / "cut"
    step = 512 if kind == "tar" else max(1, len(data) // 23)
    for keep in range(0, len(data) - 1024 if kind == "tar" else len(data), step):
        path.write_bytes(data[:keep])
        refusal(path)
    path.write_bytes(data)
    assert unpack(path, tmp_path / "target").files == 6


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz"])
def test_a_flipped_bit_in_the_contents_names_the_member_or_the_archive(tmp_path: Path, kind: str) -> None:
    files = {f"f{k}": random.Random(k).randbytes(5000) for k in range(3)}
    data = of(tmp_path / f"x.{'zip' if kind == 'zip' else 'tar'}", files).read_bytes()
    data = bytearray(COMPRESSIONS.get(kind, bytes)(data))
    data[len(data) // 2] ^= 1
    path = tmp_path / "flipped"
    path.write_bytes(data)
    error = refusal(path)
    if kind == "zip":
        assert "'f1'" in error.what
        assert "CRC" in error.what


def test_zip_sizes_must_be_those_stated(tmp_path: Path) -> None:
    original = zipped(tmp_path / "x.zip", {"a": b"0123456789"}).read_bytes()
    at = original.rfind(b"PK\1\2")
    for size in (0, 9, 11, 1000):
        data = bytearray(original)
        data[at + 24 : at + 28] = struct.pack("<L", size)
        (tmp_path / "y.zip").write_bytes(data)
        assert "'a'" in refusal(tmp_path / "y.zip").what


def test_a_member_after_the_end_is_not_passed_over(tmp_path: Path) -> None:
    one, two = tar(tmp_path / "1.tar", {"a": b"1"}).read_bytes(), tar(tmp_path / "2.tar", {"b": b"2"}).read_bytes()
    path = tmp_path / "both.tar"
    path.write_bytes(one + two)
    assert "follow the mark of the end" in refusal(path).what


@pytest.mark.parametrize(
    "data", [b"", b"<!DOCTYPE html><p>sign in</p>", b"x" * 5000, gzip.compress(b"{}", mtime=0), bytes(1024)]
)
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar.gz").write_bytes(data)
    refusal(tmp_path / "x.tar.gz")


def test_empty_archives_absent_archives_and_taken_targets(tmp_path: Path) -> None:
    assert "holds no file" in refusal(zipped(tmp_path / "x.zip", {})).what
    assert "holds no file" in refusal(zipped(tmp_path / "x.zip", {"d/": b""})).what
    with pytest.raises(DataError, match="is not a file"):
        unpack(tmp_path / "absent.zip", tmp_path / "target")
    (tmp_path / "target").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        unpack(zipped(tmp_path / "x.zip", PLAIN), tmp_path / "target")


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"a": random.Random(0).randbytes(300_000)})
    code = f"""
import resource, signal, sys
from pathlib import Path
from trackyard.acquire.archives.unpack import unpack
from trackyard.errors import EnvironmentLacking
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    unpack(Path({str(archive)!r}), Path({str(tmp_path / "target")!r}))
except EnvironmentLacking as error:
    sys.exit(30 if "cannot be unpacked" in error.what else 31)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 30
    assert set(tmp_path.iterdir()) == {archive}
    assert unpack(archive, tmp_path / "target").files == 1


def test_errors_of_writing_are_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(tmp_path / "x.zip", PLAIN)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(EnvironmentLacking, match="No space left"):
        unpack(archive, tmp_path / "target")


def test_killed_at_any_time_nothing_lies_under_the_name(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {f"{k // 50}/{k}": bytes([k % 256]) * 2000 for k in range(600)})
    code = (
        "import sys; from pathlib import Path; from trackyard.acquire.archives.unpack import unpack\n"
        "say = lambda files, size: print(files, flush=True)\n"
        "unpack(Path(sys.argv[1]), Path(sys.argv[2]), progress=say)"
    )
    target = tmp_path / "target"
    for number, after in enumerate((1, 150, 420, 600)):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(archive), str(target)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= after:
                break
        child.send_signal(signal.SIGKILL if number % 2 == 0 else signal.SIGTERM)
        child.wait()
        child.stdout.close()
        if target.exists():
            assert len(found(target)) == 600
            break
        left = [path for path in tmp_path.iterdir() if path != archive]
        assert all(path.name.startswith(TEMPORARY) for path in left)
    if not target.exists():
        unpack(archive, target)
    assert len(found(target)) == 600


def test_the_negative_control_python_itself_leaves_the_target(tmp_path: Path) -> None:
    archive = tar(tmp_path / "x.tar", {"../out": b"!"})
    (tmp_path / "target").mkdir()
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "target")
    assert (tmp_path / "out").read_bytes() == b"!"
    (tmp_path / "out").unlink()
    with pytest.raises(RefusedName):
        relative_path("../out")
