"""The ten checks of the study's models and data."""
