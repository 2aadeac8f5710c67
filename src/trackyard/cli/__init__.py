"""One small module per command group."""
