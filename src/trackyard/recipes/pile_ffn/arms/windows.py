"""Which windows of a slice an arm is trained on at which step, as data: equal for all arms of a seed.

Every predicted token counts once: windows of L + 1 tokens begin every L, none is padded, and none is shown twice, since
arms are compared at equal budgets. Source: pile-ffn spec sections 5, 6 and 14 (rows 12 and 15), design section 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from blake3 import blake3

from trackyard.errors import DataError
from trackyard.feed.token_windows import TokenWindows
from trackyard.plan.recorded import fingerprint_of
from trackyard.recipes.pile_ffn.text.token_sets import TokenSet
from trackyard.recipes.running.plan_file import keep_plan, plan_directory

SCHEMA = "trackyard-windows/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowPlan:
    """A plan of steps over one token set.

    tokens: blake3 of the manifest of the set, whose name is `dataset`. window: L, in tokens. windows: that the set has;
    unused: of these, taken by no step. left_out: tokens at the end that no window predicts. order: blake3 of the
    numbers of all windows that are taken, int64 in the order of the steps.
    """

    dataset: str
    tokens: str
    window: int
    windows_per_step: int
    steps: int
    seed: int
    windows: int
    unused: int
    left_out: int
    order: str

    @property
    def predicted(self) -> int:
        """Tokens that all steps together predict."""
        return self.steps * self.windows_per_step * self.window

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(SCHEMA, asdict(self))

    def directory(self, root: Path) -> Path:
        """Where the plan lies below the repository."""
        return plan_directory(root, self.fingerprint)

    def keep(self, root: Path) -> Path:
        """Write the plan unless it is there; returns its directory. IdentityError if what is there is another one."""
        return keep_plan(root, SCHEMA, asdict(self))


def plan_windows(tokens: TokenSet, *, window: int, windows_per_step: int, steps: int, seed: int) -> WindowPlan:
    """The plan of `steps` steps; DataError if the set has fewer windows than they take."""
    order = windows_of(tokens, window=window, windows_per_step=windows_per_step, seed=seed)
    taken = steps * windows_per_step
    if order.windows < taken:
        raise DataError(
            what=f"{tokens.name} holds {tokens.shards.tokens:,} tokens, which are {order.windows:,} windows of "
            f"{window:,}; {steps:,} steps of {windows_per_step:,} take {taken:,}",
            why="windows would be shown twice, and arms are compared at equal budgets of tokens that are seen once",
            fix=f"lower training.steps in params.yaml for all arms alike, or prepare {taken * window + 1:,} tokens: "
            "dvc repro -f pipelines/pile_ffn/dvc.yaml:tokenize",
        )
    hasher = blake3()
    for step in range(steps):
        hasher.update(order.numbers(step).astype("<i8").tobytes())
    return WindowPlan(
        dataset=tokens.name,
        tokens=tokens.digest,
        window=window,
        windows_per_step=windows_per_step,
        steps=steps,
        seed=seed,
        windows=order.windows,
        unused=order.windows - taken,
        left_out=order.left_out,
        order=hasher.hexdigest(),
    )


def windows_of(tokens: TokenSet, *, window: int, windows_per_step: int, seed: int) -> TokenWindows:
    """The windows of a set by step, in the order that belongs to the seed."""
    return TokenWindows(tokens.shards, length=window, batch=windows_per_step, seed=seed)
