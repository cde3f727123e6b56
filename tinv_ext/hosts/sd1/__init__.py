"""Stable Diffusion 1 as single files: what they are, how large their parts are, and how they become diffusers' parts.

The JSON files and CLIP's vocabulary beside this file have the form of a diffusers folder without weights. They stand
in for the download that diffusers' own loader of single files wants.
"""
