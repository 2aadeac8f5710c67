"""The frozen models: pinned ones as they were fetched, or tiny ones that are made here."""
