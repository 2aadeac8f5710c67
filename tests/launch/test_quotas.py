"""What a site's file systems are to hold, against their quotas."""

from __future__ import annotations

import pytest

from trackyard.errors import ConfigError
from trackyard.launch.quotas import Holding, filled
from trackyard.launch.sites import Held, Partition, Site, Storage


def site(**storages: Storage) -> Site:
    here = {"here": Partition(device="any", cores_per_node=1)}
    return Site(name="mine", default_partition="here", partitions=here, **storages)  # type: ignore[arg-type]


def thing(held: Held, size: int | None, files: int | None) -> Holding:
    return Holding(name=held, held=held, bytes=size, files=files)


def disk(*holds: Held, quota_tb: float | None = None, max_files: int | None = None) -> Storage:
    return Storage(path_variable="DISK", quota_tb=quota_tb, max_files=max_files, holds=holds)


def test_each_file_system_has_its_own_sum() -> None:
    there = site(scratch=disk("raw", quota_tb=1), project=disk("repository", "hub", quota_tb=1, max_files=10))
    things = [thing("raw", 10**12, 7), thing("repository", 6 * 10**11, 4), thing("hub", 4 * 10**11, 6)]
    scratch, project = filled(there, things)
    assert (scratch.name, scratch.bytes, scratch.files, scratch.problems) == ("scratch", 10**12, 7, ())
    assert (project.name, project.bytes, project.files, project.problems) == ("project", 10**12, 10, ())


def test_a_byte_or_a_file_too_many_is_refused() -> None:
    there = site(project=disk("hub", quota_tb=0.5, max_files=10))
    (over,) = filled(there, [thing("hub", 5 * 10**11 + 1, 10)])
    assert over.problems == ("0.50 TB are needed, the quota is 0.5 TB",)
    (over,) = filled(there, [thing("hub", 5 * 10**11, 11)])
    assert over.problems == ("11 files are needed, the quota is 10",)
    (unlimited,) = filled(site(project=disk("hub")), [thing("hub", 10**18, 10**9)])
    assert unlimited.problems == ()


def test_the_unknown_counts_nothing() -> None:
    (one,) = filled(site(project=disk("images", quota_tb=1)), [thing("images", None, None)])
    assert (one.bytes, one.files, one.problems) == (0, 0, ())


def test_what_lies_nowhere_or_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="site mine does not say which file system holds 'raw'"):
        filled(site(project=disk("hub")), [thing("raw", 1, 1)])
    with pytest.raises(ValueError, match="'hub' lies on two file systems"):
        site(project=disk("hub"), scratch=disk("hub"))
