"""The Molmo2 track: three stages of one recipe."""
