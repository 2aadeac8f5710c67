"""Benchmarks by lm-evaluation-harness as a library: its own task definitions over files of this disk, offline."""
