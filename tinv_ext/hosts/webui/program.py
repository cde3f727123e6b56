"""Which program we run in, by what its parts are made of."""

from __future__ import annotations

import importlib.util

A1111 = "AUTOMATIC1111's WebUI"
FORGE = "Forge or Forge Neo"
REFORGE = "reForge or Classic"
SDNEXT = "SD.Next"


def program() -> str:
    """A1111, FORGE (whose models are those of its package `backend`), REFORGE (ComfyUI's, in `ldm_patched`) or SDNEXT.

    All descendants of Forge have `modules_forge`, and SD.Next makes images by diffusers. The names of A1111's modules
    say nothing: Forge keeps them, empty.
    """
    if importlib.util.find_spec("modules_forge") is None:
        return SDNEXT if importlib.util.find_spec("modules.processing_diffusers") is not None else A1111
    return REFORGE if importlib.util.find_spec("ldm_patched") is not None else FORGE


def may_record_graphs(cmd_opts: object) -> bool:
    """Whether CUDA graphs may be used: unless the program was started with --tinv-no-cuda-graphs (preload.py)."""
    return not getattr(cmd_opts, "tinv_no_cuda_graphs", False)
