"""Stages of the DVC graph as batch jobs: what is stale, who waits for whom, what became of each."""
