"""Sweeps: levels of the knobs, which of their combinations are measured, and what each is called."""
