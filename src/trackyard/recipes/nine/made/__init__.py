"""The small model with routed experts that the mini profile trains and then evaluates."""
