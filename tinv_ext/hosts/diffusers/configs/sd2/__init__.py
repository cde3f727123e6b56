"""Configs of Stable Diffusion 2 as diffusers writes them; its vocabulary is SD1's."""
