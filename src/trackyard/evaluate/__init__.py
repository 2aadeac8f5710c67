"""Tasks, scorers, generation and attacks."""
