"""Where and how a stage runs: sites, launchers, ranks, signals, the watch over them."""
