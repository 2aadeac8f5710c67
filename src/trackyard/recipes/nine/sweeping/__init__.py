"""Accuracy and latency of every configuration."""
