"""Runs in MLflow: delivered from their spools exactly once, as a tree, with registered models."""
