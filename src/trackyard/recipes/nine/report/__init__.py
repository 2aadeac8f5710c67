"""What a sweep came to: frontiers, figures, pages, tables, and the same numbers for DVC and MLflow."""
