"""The order of rows, as the specification defines it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from trackyard.errors import DataError
from trackyard.recipes.datacomp.ingest.rows import open_rows, order_key


def test_the_key_is_the_digest_of_seed_and_uid() -> None:
    assert order_key(7, "ab") == hashlib.sha256(b"7ab").digest()


def test_rows_that_cannot_be_read_name_the_stage_that_makes_them(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    for path in (tmp_path / "rows.parquet", tmp_path / "absent.parquet"):
        with pytest.raises(DataError) as caught, open_rows(path, stage="select"):
            pass
        assert caught.value.fix == "trackyard run datacomp select"
