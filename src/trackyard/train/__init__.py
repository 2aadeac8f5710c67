"""The training engine: loss, schedule, checkpoints, signals."""
