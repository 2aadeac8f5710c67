"""World encoders: the image half of a video model's VAE as a fixed map from pictures to normalised latents."""
