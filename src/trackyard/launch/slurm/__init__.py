"""Slurm through its command lines: what is submitted, what is asked, what the answers mean."""
