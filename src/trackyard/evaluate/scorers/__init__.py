"""Scorers: one prediction and its references in, a number out; pure, and without any chance."""
