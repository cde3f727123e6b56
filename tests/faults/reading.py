"""Read whatever lies in a folder of embeddings, over and over, as a WebUI beside a run may.

    python -m tests.faults.reading FOLDER

Ends when a file "enough" lies beside the folder; tells as JSON how many files were read and what was wrong with them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from tinv_ext.core.errors import TinvError
from tinv_ext.core.formats import read_embedding


def main() -> int:
    """Read and tell."""
    folder = Path(sys.argv[1])
    reads, wrong, steps = 0, [], set()
    print("ready", flush=True)
    while not folder.with_name("enough").exists():
        for path in folder.glob("[!.]*"):
            reads += 1
            try:
                found = read_embedding(path)
            except (TinvError, OSError) as error:
                wrong.append(str(error))
                continue
            steps.add(found.step)
            if not torch.equal(found.vectors["clip_l"], torch.full((2, 768), float(found.step or 0))):
                wrong.append(f"{path.name} mixes steps")
    print(json.dumps({"reads": reads, "steps": len(steps), "wrong": wrong[:5]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
