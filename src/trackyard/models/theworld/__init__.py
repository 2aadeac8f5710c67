"""TheWorld: Gemma 3 with latents of a video model's image VAE as a second view of each picture."""
