"""Bring data in: generate the mini data, import your own."""
