"""The best fill that any packer can reach under two budgets, to measure a packer by. Source: performance spec B7."""

from __future__ import annotations

from trackyard.plan.packing import Budget


def least_packs(tokens: int, inputs: int, *, budget: Budget) -> float:
    """No packer puts rows with these sums into fewer packs: each holds at most L tokens and I inputs. Not rounded."""
    needed = tokens / budget.tokens
    # A budget of no inputs holds only rows without any, whose sum is 0 and needs nothing.
    return max(needed, inputs / budget.inputs) if budget.inputs else needed


def fill_bound(tokens: int, inputs: int, *, budget: Budget) -> float:
    """The share of pack positions that hold a token, at best, for rows with these sums: 1 where tokens run out first.

    Below 1 where inputs run out first. No account is taken of rows being indivisible, so it may be out of reach.
    """
    return tokens / budget.tokens / least_packs(tokens, inputs, budget=budget)
