"""Checks of the track's models and data before anything is started."""
