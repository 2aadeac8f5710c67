"""Training of what joins latents and language model, and the proofs that it was trained."""
