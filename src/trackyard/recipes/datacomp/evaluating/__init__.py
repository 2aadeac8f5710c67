"""Benchmarks, and the arms that they are run on."""
