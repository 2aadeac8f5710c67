"""Records of tables and texts become rows, by a mapping file."""
