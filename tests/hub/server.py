"""A hub of the few endpoints that huggingface_hub uses for an upload and a download; files live in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

COMMIT = "0" * 40


@dataclass
class Hub:
    """Repositories by kind and id ("models/ann/zworble"), each with its files; what was asked; what tokens may do."""

    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    roles: dict[str, str] = field(default_factory=lambda: {"hf_write": "write", "hf_read": "read"})


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a port of its own."""
    hub = Hub()

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *about: Any) -> None:
            hub.asked.append(f"{self.command} {self.path}")

        def do_GET(self) -> None:
            self._answer(*_read(hub, self.path.partition("?")[0], self.headers))

        do_HEAD = do_GET  # noqa: N815 (the name that http.server looks for)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(*_write(hub, self.path.partition("?")[0], body, self.headers))

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


Reply = tuple[int, bytes, dict[str, str]]


def _json(value: Any, status: int = 200, **headers: str) -> Reply:
    return status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers}


def _role(hub: Hub, headers: Any) -> str:
    return hub.roles.get(str(headers.get("Authorization")).removeprefix("Bearer "), "")


def _missing() -> Reply:
    return _json({"error": "Repository not found"}, 404, **{"X-Error-Code": "RepoNotFound"})


def _read(hub: Hub, path: str, headers: Any) -> Reply:
    if path == "/api/whoami-v2":
        role = _role(hub, headers)
        if not role:
            return _json({"error": "Invalid token"}, 401)
        return _json({"name": "ann", "type": "user", "auth": {"accessToken": {"role": role}}, "orgs": []})
    if path.startswith("/api/"):
        kind, owner, name, *rest = path.removeprefix("/api/").split("/")
        files = hub.files.get(f"{kind}/{owner}/{name}")
        if files is None:
            return _missing()
        if rest[:1] == ["tree"]:
            return _json([_entry(name, data) for name, data in files.items()])
        siblings = [{"rfilename": name} for name in files]
        return _json({"id": f"{owner}/{name}", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})
    kind = "datasets" if path.startswith("/datasets/") else "models"
    owner, name, _, _, *file = path.removeprefix("/datasets").strip("/").split("/")
    data = hub.files.get(f"{kind}/{owner}/{name}", {}).get("/".join(file))
    if data is None:
        return _json({"error": "Entry not found"}, 404, **{"X-Error-Code": "EntryNotFound"})
    return 200, data, {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}


def _checked_card(text: str) -> Reply:
    """What the hub says of a card: its licence must be one that it knows, or "other"."""
    about = yaml.safe_load(text.split("---")[1])
    if about.get("license") in (None, "other", "cc-by-4.0"):
        return _json({"errors": [], "warnings": []})
    return _json({"errors": [{"message": '"license" must be one of [...]'}], "warnings": []}, 400)


def _entry(name: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _write(hub: Hub, path: str, body: bytes, headers: Any) -> Reply:
    if path == "/api/validate-yaml":
        return _checked_card(json.loads(body)["content"])
    if _role(hub, headers) != "write":
        return _json({"error": "Forbidden"}, 403)
    if path == "/api/repos/create":
        asked = json.loads(body)
        id = f"{asked.get('organization') or 'ann'}/{asked['name']}"  # noqa: A001 (the hub's word)
        hub.files.setdefault(f"models/{id}", {})
        if asked.get("private") or asked.get("visibility") == "private":
            hub.private.add(id)
        return _json({"url": f"{hub.address}/{id}", "name": id, "id": id})
    kind, owner, name, what, *_ = path.removeprefix("/api/").split("/")
    files = hub.files[f"{kind}/{owner}/{name}"]
    if what == "preupload":
        told = json.loads(body)["files"]
        modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in told]
        return _json({"files": modes})
    for line in body.decode().splitlines():
        entry = json.loads(line)
        if entry["key"] == "file":
            files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
    return _json({"success": True, "commitOid": COMMIT, "commitUrl": f"{hub.address}/{owner}/{name}/commit/{COMMIT}"})
