"""The running of a training stage, the same for every track: ranks, lock, log, signals, restarts, final weights."""
