"""Rows of addresses and captions become samples: chosen, fetched, curated, each with one outcome."""
