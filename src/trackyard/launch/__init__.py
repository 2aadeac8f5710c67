"""Where and how a stage runs: processes, locks."""
