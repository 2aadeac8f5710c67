"""What a stage will cost, before anything is asked for: memory, time, service units, and whether the site allows it."""
