"""How long an answer takes, by its parts: one answer at a time, with the device idle at every mark."""
