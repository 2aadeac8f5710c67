"""Latents of every picture, computed once."""
