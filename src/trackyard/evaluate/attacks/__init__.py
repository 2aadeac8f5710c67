"""Attacks on language models: universal triggers, token flips, the controls that judge them, and their transfer."""
