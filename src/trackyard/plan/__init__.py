"""Decide beforehand what is trained on: rates, draws, packs, the plan file."""
