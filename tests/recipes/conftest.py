"""What tests of recipes share with those of training: a process group."""

from __future__ import annotations

from tests.train.conftest import one_rank

__all__ = ["one_rank"]
