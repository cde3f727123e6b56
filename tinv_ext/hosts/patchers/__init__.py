"""What Forge, Forge Neo, reForge and Classic have in common: models in patchers, loaded by a memory manager.

An image puts LoRA into patchers of its own (`forge_objects_after_applying_lora`), which share the modules of the
original ones; loading a patcher puts its weights into the modules. Names and behaviour were read in Forge dfdcbab6 and
reForge 3b56b268; what the programs call differently is in a `Backend`.
"""
