"""What decides the last bits of a float32 sum beside the libraries: the instructions, and whose processor has them."""

from __future__ import annotations

from pathlib import Path

import torch

_CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """Such as "AVX512 GenuineIntel": MKL has ways of its own for one maker's. No maker where Linux does not tell it.

    Those that also compute in bfloat16 are others.
    """
    try:
        lines = _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    facts = {name.strip(): value for name, _, value in (line.partition(":") for line in reversed(lines))}
    bf16 = [flag for flag in facts.get("flags", "").split() if flag in ("avx512_bf16", "amx_bf16")]
    return " ".join([torch.backends.cpu.get_cpu_capability(), facts.get("vendor_id", "").strip(), *bf16]).strip()
