"""A file under a second name, without its bytes being written again. Source: pile-ffn spec section 11."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_NO_HARD_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def hard_link(source: Path, target: Path) -> bool:
    """Make `target`, in folders that are made as well; False where file systems allow no link between the two.

    source: links in it are followed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return False
    return True
