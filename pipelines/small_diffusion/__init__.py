"""Small latent diffusion family: trained on the built-in world, in diffusers' own layout."""
