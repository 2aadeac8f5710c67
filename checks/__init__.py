"""Checks of the repository itself, run by `make check`: each prints what it examined and fails if that is nothing."""
