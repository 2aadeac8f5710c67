"""Export and model card."""
