"""Checks before a study is started that are alike for all tracks: the hub and its cache, and this machine."""
