"""The report of all tracks: one self-contained page, the same as Markdown, and the numbers that it is about."""
