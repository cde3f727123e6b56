"""What AUTOMATIC1111's WebUI, Forge, Forge Neo, reForge and Classic share: queue, Interrupt, samplers, txt2img.

It imports only what all of them have, and reads by `getattr` what one of them lacks (tests/hosts/webui). Facts are from
A1111 v1.10.1; "the program" is whichever of them we run in.
"""
