"""Runs side by side, from their files alone: summaries, differences, outcomes, tables."""
