"""What holds for every test: no network, no telemetry, one thread, nothing read from or left in the user's folders."""

from __future__ import annotations

import os
import tempfile

_home = tempfile.TemporaryDirectory(prefix="tinv-tests-")

# Before anything imports a library that reads them. The hub's cache is an empty folder, so that a test which needs
# a download fails here as it would on a machine that never had one.
os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    DISABLE_TELEMETRY="1",
    DO_NOT_TRACK="1",
    HF_HOME=_home.name,
    OMP_WAIT_POLICY="PASSIVE",
    TOKENIZERS_PARALLELISM="false",
)

import torch  # noqa: E402  (the environment first)

torch.set_num_threads(1)

if not os.environ.get("WEBUI"):
    collect_ignore = ["webui"]  # needs the real WebUI: `make test-webui`
