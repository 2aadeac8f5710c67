"""What was measured, in one table with its tests; figures; model cards."""
