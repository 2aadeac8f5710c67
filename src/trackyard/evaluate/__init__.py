"""Tasks, scorers and generation."""
