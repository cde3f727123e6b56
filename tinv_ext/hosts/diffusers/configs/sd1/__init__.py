"""Configs of Stable Diffusion 1 and CLIP's vocabulary, in the form of a diffusers folder without weights.

They stand in for the download that diffusers' own loader of single files wants.
"""
