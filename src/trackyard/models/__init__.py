"""Builders over transformers; only what that library lacks is written here."""
