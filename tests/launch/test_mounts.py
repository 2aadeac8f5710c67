"""The table of the kernel: the deepest mount above a path, the last of those at one point, escapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackyard.launch.mounts import mount_of

TABLE = r"""22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /a rw shared:5 master:2 - nfs4 server:/a rw
31 22 0:41 / /a/b\040c rw - tmpfs tmpfs rw
32 22 0:42 / /over rw - ext4 /dev/vdb rw
33 32 0:43 / /over rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(
    ("path", "point", "kind", "shared"),
    [
        ("/x", "/", "ext4", False),
        ("/a/none/yet", "/a", "nfs4", True),
        ("/ab", "/", "ext4", False),
        ("/a/b c/d", "/a/b c", "tmpfs", False),
        ("/over/x", "/over", "fuse.sshfs", True),
    ],
)
def test_of_a_table(tmp_path: Path, path: str, point: str, kind: str, shared: bool) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    found = mount_of(Path(path), table)
    assert (found.point, found.kind, found.shared) == (Path(point), kind, shared)


def test_of_this_machine() -> None:
    assert mount_of(Path("/proc/self")).kind == "proc"


def test_a_table_without_a_mount(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text("")
    with pytest.raises(ValueError, match="lists no mount"):
        mount_of(Path("/x"), tmp_path / "mountinfo")
