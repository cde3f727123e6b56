"""Prove and measure the engine on a GPU: one command, one table, gpu.json.

    make gpu                                       # or: python tools/gpu.py
    python tools/gpu.py --device cpu --tiny        # the same parts, small, where there is no GPU

It needs torch, transformers and accelerate, and downloads nothing. What else is missing (diffusers) it takes from the
folder `--packages`, which `make gpu-packages` fills on a machine that has it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tools.on_gpu import carried  # noqa: E402 - the path comes first

if TYPE_CHECKING:
    from tools.on_gpu.results import Place, Row

# the ladder first: the limit of memory holds for what is newly allocated, not for what others have left
PARTS = ("memory_ladder", "exactness", "laws", "graphs", "speed", "lessons")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 … or cpu")
    parser.add_argument("--tiny", action="store_true", help="small models and few steps: whether all of it works")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only these")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which nothing more is begun")
    parser.add_argument("--packages", type=Path, default=ROOT / carried.FOLDER, help="folder of packages carried along")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="where all figures are written")
    return parser.parse_args(given)


def machine(device: Any) -> dict[str, Any]:
    """What this was measured on."""
    import diffusers
    import torch
    import transformers

    facts: dict[str, Any] = {
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "device": "cpu",
    }
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        facts["device"] = f"{about.name}, {about.total_memory / 2**30:.0f} GB, capability {about.major}.{about.minor}"
    return facts


def rows_of(part: str, place: Place) -> Iterator[Row]:
    """The rows of a part. Its failure is a row, too: the other parts are to be measured all the same."""
    import importlib

    from tools.on_gpu.results import Row

    if place.seconds_left <= 0:
        yield Row("everything", {"left out": "no time"})
        return
    began = time.monotonic()
    try:
        found: Callable[[Place], Iterator[Row]] = importlib.import_module(f"tools.on_gpu.{part}").rows
        yield from found(place)
    except Exception as error:  # noqa: BLE001 - told in the table, with where it happened on stderr
        traceback.print_exc()
        place.forget()
        yield Row("failed", {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}, "runs", False)
    yield Row("time", {"seconds": round(time.monotonic() - began, 1)})


def main(given: list[str] | None = None) -> int:
    """Measure, print and write; 1 if a bar was not met or a part failed."""
    options = arguments(given)
    carried.put_on_path(options.packages)
    from tools.on_gpu.laws import WORKSPACE

    os.environ.update(WORKSPACE, HF_HUB_OFFLINE="1")  # before CUDA begins
    import diffusers
    import torch

    from tools.on_gpu.results import Place, as_json, table

    diffusers.utils.logging.set_verbosity_error()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("torch finds no CUDA device here. To try everything out: --device cpu --tiny", file=sys.stderr)
        return 2
    sections: dict[str, list[Row]] = {}
    facts = machine(device)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(device, options.tiny, Path(folder), time.monotonic() + 60 * options.minutes)
        for part in options.parts:
            sections[part] = []
            for row in rows_of(part, place):
                sections[part].append(row)
                print(table({part: [row]}).splitlines()[-1], flush=True)
                written = {"machine": facts, "tiny": options.tiny, "rows": as_json(sections)}
                options.json.write_text(json.dumps(written, indent=1), encoding="utf-8")
    print(f"\n{', '.join(f'{name} {value}' for name, value in facts.items())}\n\n{table(sections)}")
    return 1 if any(row.good is False for rows in sections.values() for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
