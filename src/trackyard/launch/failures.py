"""Two failures of a training process that every library reports in its own words, said in ours.

Host memory (reliability F29): under a limit (ulimit -v, a site's cgroup without the killer) an allocation fails;
without one the kernel kills the process and nothing here runs. Memory of devices is the engine's.
Peers (reliability F26): a collective ends with an error when another rank has gone or is not heard for too long.
"""

from __future__ import annotations

import errno
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from trackyard.errors import TrackyardError

_MEMORY = re.compile(r"DefaultCPUAllocator: |std::bad_alloc|Cannot allocate memory|can't start new thread")
"""torch raises a plain RuntimeError for the host, unlike torch.OutOfMemoryError for a device."""
_PEER = re.compile(r"\bgloo/|Connection closed by peer|Connection reset by peer|Timed out waiting \d+ms for")
"""gloo raises a plain RuntimeError, NCCL a DistBackendError."""


@contextmanager
def named_failures() -> Iterator[None]:
    """TrackyardError in place of what a failed allocation or a lost peer raises inside the block."""
    try:
        yield
    except MemoryError as error:
        raise _memory(str(error) or "an allocation failed") from error
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        raise _memory(str(error)) from error
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if _MEMORY.search(text):
            raise _memory(text) from error
        if _PEER.search(text) or _of_a_backend(error):
            raise _peer(text) from error
        raise


def _of_a_backend(error: RuntimeError) -> bool:
    from torch.distributed import DistBackendError

    return isinstance(error, DistBackendError)


def _memory(detail: str) -> TrackyardError:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    limit = "no limit is set here" if soft == resource.RLIM_INFINITY else f"the limit is {soft / 2**30:.1f} GiB"
    return TrackyardError(
        what=f"host memory is used up ({limit}): {detail}",
        why="the step at hand was not finished; checkpoints are untouched",
        fix="ask for more memory (sbatch --mem, ulimit -v), or lower engine.workers and engine.micro_batch in "
        "params.yaml; then run the same command again: it continues from the newest checkpoint",
    )


def _peer(detail: str) -> TrackyardError:
    return TrackyardError(
        what=f"a collective failed: {detail}",
        why="another rank has ended or is not heard any more, and no step can be taken without it",
        fix="its own message, or its file in stacks/ of the run directory, says what it was; then run the same command "
        "again: it continues from the newest checkpoint",
    )
