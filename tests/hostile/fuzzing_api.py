"""Fuzzing of the routes by schemathesis, from what they say of themselves: python -m tests.hostile.fuzzing_api

A server of its own in a folder of its own, with the model of a few lines. Exits with 1 where a route answers 500 or
what /openapi.json does not say, takes more than 20 seconds, or where a file outside of the open folder is touched.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn

from tests.hostile.routes import Served
from tinv_ext.server.allowed_paths import PATHS

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
RUN_SECONDS = 2  # a run is stopped then


def main() -> int:
    """Fuzz for some time, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        served = Served(Path(folder).resolve())
        os.chdir(served.home)
        describe(served)
        server = uvicorn.Server(uvicorn.Config(served.app, port=0, log_level="error"))
        threading.Thread(target=server.run, daemon=True).start()
        while not server.started:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        threading.Thread(target=stop_old_runs, args=(served,), daemon=True).start()
        with served.watched() as touched:
            code = fuzz(f"http://127.0.0.1:{port}/openapi.json", options.seconds, options.seed, served.home)
        server.should_exit = True
        served.queue.end(60)
        print(f"{served.started()} runs were started; outside of the open folder, {len(touched)} files were touched")
    print("\n".join(sorted(set(touched))[:20]))
    return int(bool(code or touched))


def fuzz(address: str, seconds: int, seed: int, folder: Path) -> int:
    """schemathesis in a process of its own: its exit status. What it keeps goes into `folder`."""
    flags = ["--checks", CHECKS, "--max-time", str(seconds), "--seed", str(seed), "--request-timeout", "20"]
    flags += ["--suppress-health-check", "all", "--continue-on-failure", "--warnings", "off"]
    command = [Path(sys.executable).with_name("schemathesis"), "run", address, *flags]
    return subprocess.run(command, cwd=folder, check=False).returncode


def describe(served: Served) -> None:
    """Let /openapi.json also name real places, settings of a run that works, and a job that is over."""
    job = served.queue.submit(served.values())
    assert served.queue.wait(job, 60)
    description = served.app.openapi()
    places = [place for place in served.places() if place.isprintable()]
    for path in description["paths"].values():
        for route in path.values():
            for body in route.get("requestBody", {}).get("content", {}).values():
                name_places(body["schema"]["properties"], places)
                body["example"] = served.values()
            for parameter in route.get("parameters", ()):
                if parameter["name"] == "job":
                    parameter["schema"] = {"anyOf": [{"enum": [job.id, ""]}, {"type": "string"}]}
                if parameter["name"] == "output":
                    parameter["schema"] = {"anyOf": [{"enum": places}, {"type": "string"}]}


def name_places(properties: dict[str, Any], places: list[str]) -> None:
    """Give the paths among settings those places as values, and keep runs short."""
    for name in PATHS:
        properties[name] = {"anyOf": [{"enum": places}, {"type": "string"}]}


def stop_old_runs(served: Served) -> None:
    """Stop what runs, again and again, so that the queue never fills."""
    while True:
        time.sleep(RUN_SECONDS)
        served.stop_jobs()


if __name__ == "__main__":
    sys.exit(main())
