"""Write torch-2.1-names.txt: what a program may name of torch 2.1.2, the oldest that users have.

Run it under that torch itself (its only builds are large; nothing of this repository installs one):

    python tests/data/make_torch_names.py > tests/data/torch-2.1-names.txt

It imports every public module and lists the public attributes, so that what torch builds at run time is in too.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import types
import warnings

import torch

# Large, and no business of this package: should it ever use one, make the list again with it.
LEFT_OUT = ("ao", "contrib", "distributed", "fx", "masked", "onnx", "package", "quantization", "testing")

HEAD = """\
# The public names of torch {version}, made by make_torch_names.py beside this file, under that very torch.
# One name a line; a module ends in a dot. Left out: {left_out}.
"""


def modules() -> dict[str, types.ModuleType]:
    """Return every importable public module of torch by its dotted name."""
    found = {"torch": torch}
    for info in pkgutil.walk_packages(torch.__path__, "torch."):
        parts = info.name.split(".")
        if parts[1] in LEFT_OUT or any(part.startswith("_") for part in parts):
            continue
        try:
            found[info.name] = importlib.import_module(info.name)
        except Exception as error:  # noqa: BLE001  (some want packages or devices that are not here)
            print(f"left out {info.name}: {error}", file=sys.stderr)
    return found


def lines(found: dict[str, types.ModuleType]) -> list[str]:
    """Return the modules, with a dot behind, and their public attributes that are not other programs' modules."""
    names = {name + "." for name in found}
    for place, module in found.items():
        for attribute in dir(module):
            value = getattr(module, attribute)
            if not attribute.startswith("_") and not isinstance(value, types.ModuleType):
                names.add(f"{place}.{attribute}")
    return sorted(names)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.stdout.write(HEAD.format(version=torch.__version__.split("+")[0], left_out=", ".join(LEFT_OUT)))
    sys.stdout.write("\n".join(lines(modules())) + "\n")
