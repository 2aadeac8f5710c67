"""Staging of the nine-dataset evaluation: plan, sync and verify by what the rows point to, never by folder lists."""
