"""Immutable, sharded, hashed rows, and the index of their lengths."""
