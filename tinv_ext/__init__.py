"""tinv_ext: textual inversion for Stable Diffusion, in the WebUI and from the command line."""

__version__ = "0.2.0"
