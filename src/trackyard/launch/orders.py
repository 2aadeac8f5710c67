"""Rank 0 of a launcher's ranks works alone until there is something to train; the others wait for its orders.

The lock, the proof of the data, the plan, scores and what is put out are the work of one process. Meanwhile the others
poll a store that rank 0 (under torchrun: its agent) holds at MASTER_ADDR:MASTER_PORT, the one over which the process
group is formed. They never wait in a collective, whose limit a long proof of data would exceed, and never for ever:
rank 0 says every few seconds that it lives, and says when it fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from trackyard.errors import EXIT_DONE, EXIT_STOPPED_EARLY, StoppedEarly, TrackyardError
from trackyard.launch.launched import Launched

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

BEAT_S = 5.0
"""Time between two signs of life of rank 0."""
SILENCE_S = 300.0
"""Without a sign of life for so long rank 0 is lost: its machine is gone, or the network between. (That its process
ended is noticed at once, because the store ends with it or the launcher notices.)"""
POLL_S = 0.2
JOIN_S = 600.0
"""How long ranks may start after each other: imports from a parallel file system take minutes when it is busy."""
LEAVE_S = 30.0
"""How long rank 0, which holds the store, waits at the end for the others to leave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Train your share of this attempt of this run."""

    attempt: int
    run_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """There is nothing more to do. exit_code: 0, or that of the error of rank 0 whose three parts follow."""

    exit_code: int = EXIT_DONE
    what: str = ""
    why: str = ""
    fix: str = ""


class Orders:
    """The orders of rank 0, given and read in one sequence."""

    def __init__(self, store: Store, world: int) -> None:
        self._store, self._world = store, world
        self._next = 0

    def give(self, order: Training | End) -> None:
        """Rank 0: what the others do next."""
        self._store.set(f"order/{self._next}", json.dumps({"kind": type(order).__name__} | asdict(order)))
        self._next += 1

    def read(self, *, silence_s: float = SILENCE_S) -> Training | End:
        """The others: wait for the next order. TrackyardError if rank 0 is gone or gives no sign of life."""
        key, heard, beats = f"order/{self._next}", time.monotonic(), -1
        try:
            while not self._store.check([key]):
                if (found := self._store.add("beats", 0)) != beats:
                    heard, beats = time.monotonic(), found
                if time.monotonic() - heard > silence_s:
                    raise _lost(f"rank 0 has given no sign of life for {silence_s:g} s")
                time.sleep(POLL_S)
            fields: dict[str, Any] = json.loads(self._store.get(key))
        except RuntimeError as error:  # torch's DistNetworkError is one, and so is what older stores raise
            raise _lost(f"the store of rank 0 does not answer: {str(error).splitlines()[0]}") from error
        self._next += 1
        kind = fields.pop("kind")
        if kind == Training.__name__:
            return Training(**fields)
        return End(**fields)

    def leave(self) -> None:
        """The others: nothing is read any more, for whatever reason."""
        with contextlib.suppress(RuntimeError):  # rank 0 has gone before
            self._store.add("left", 1)

    def dismiss(self, error: TrackyardError | None, *, wait_s: float = LEAVE_S) -> None:
        """Rank 0: the last order; returns when everyone has left, or after `wait_s`."""
        self.give(End() if error is None else End(
            exit_code=error.exit_code, what=error.what, why=error.why, fix=error.fix
        ))  # fmt: skip
        limit = time.monotonic() + wait_s
        while self._store.add("left", 0) < self._world - 1 and time.monotonic() < limit:
            time.sleep(POLL_S)

    def live(self, over: threading.Event) -> None:
        """Rank 0, in a thread: say that it lives, until `over`."""
        while not over.wait(BEAT_S):
            self._store.add("beats", 1)


def meet(found: Launched, *, join_s: float = JOIN_S) -> Orders:
    """The store of these ranks, as soon as rank 0 holds it. TrackyardError where it cannot be reached."""
    from torch.distributed import DistError, PrefixStore, TCPStore  # type: ignore[attr-defined]

    elastic = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    try:
        store = TCPStore(
            found.host,
            found.port,
            world_size=found.world,
            is_master=found.rank == 0 and not elastic,
            timeout=timedelta(seconds=join_s),
            wait_for_workers=False,
            # The process group's own store, made later in this process, is then the same server.
            multi_tenant=True,
        )
    except (DistError, ValueError) as error:
        raise TrackyardError(
            what=f"rank {found.rank} cannot meet the others at {found.host}:{found.port}: {str(error).splitlines()[0]}",
            why="every rank needs the place where rank 0 gives its orders",
            fix="check that MASTER_ADDR is the host of rank 0 and MASTER_PORT free there, and set another one if not",
        ) from error
    # After a restart by torchrun the store is the old one, with the orders of the ranks that failed.
    return Orders(PrefixStore(f"trackyard/{found.restart}", store), found.world)


@contextlib.contextmanager
def leading(orders: Orders) -> Iterator[None]:
    """Rank 0: the block is what it does; the others are told how it ended."""
    over = threading.Event()
    beats = threading.Thread(target=orders.live, args=(over,), name="orders", daemon=True)
    beats.start()
    try:
        yield
    except TrackyardError as error:
        orders.dismiss(error)
        raise
    except BaseException as error:
        orders.dismiss(_unforeseen(error))
        raise
    else:
        orders.dismiss(None)
    finally:
        over.set()
        beats.join()


def ended(order: End) -> None:
    """End a rank that has been dismissed with the exit code of rank 0."""
    if order.exit_code == EXIT_STOPPED_EARLY:
        raise StoppedEarly(what=order.what, why=order.why, fix=order.fix)
    if order.exit_code != EXIT_DONE:
        error = TrackyardError(what=f"rank 0 ended: {order.what}", why=order.why, fix=order.fix)
        error.exit_code = order.exit_code
        raise error


def _unforeseen(error: BaseException) -> TrackyardError:
    return TrackyardError(
        what=f"{type(error).__name__}: {error}",
        why="it was not foreseen; where it happened is above",
        fix="run the same command again: it continues from the newest checkpoint, if there is one",
    )


def _lost(what: str) -> TrackyardError:
    return TrackyardError(
        what=what,
        why="it was killed or its machine is gone, and without it no step is taken",
        fix="look at its end in the launcher's output, then run the same command again",
    )
