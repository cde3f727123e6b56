"""Places in the repository that tests need."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
DOCS = ROOT / "docs"
TOOLS = ROOT / "tools"
CLIP_TOKENIZER = ROOT / "tinv_ext" / "hosts" / "diffusers" / "configs" / "sd1" / "tokenizer"
