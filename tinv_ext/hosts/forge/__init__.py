"""Forge and Forge Neo: their loaded model, trained in place.

Facts are from lllyasviel/stable-diffusion-webui-forge dfdcbab6 (June 2025) and Forge Neo of August 2026, whose
`backend/` is Forge's, grown. Both have A1111's page, queue and txt2img (`hosts/webui`), but models of their own make.
"""
