"""Readers of what the data sets of the evaluation look like on disk: a reader for each layout, questions out of it."""
