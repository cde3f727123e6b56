"""Configs of Stable Diffusion XL as diffusers writes them; its vocabulary is SD1's."""
