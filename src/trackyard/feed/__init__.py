"""Decode exactly what the plan lists: images, video, prompts, points, token trees, batches."""
