"""A server on the loopback that speaks the part of the Hub's API that downloads use."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "5" * 40
TOKEN = "hf_right"
LFS = (".bin", ".safetensors", ".model")


class HubServer(ThreadingHTTPServer):
    """Repositories by name, each a folder. `private`: asks for TOKEN. `cut`: bytes after which weights break off."""

    daemon_threads = True

    def __init__(self, repositories: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories, self.private, self.inflate = repositories, False, 1
        self.cut: int | None = None
        self.sent: dict[str, int] = {}  # bytes of the body, by file
        self.ranges: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub_server(repositories: dict[str, Path]) -> Iterator[HubServer]:
    server = HubServer(repositories)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token != TOKEN:
            self._refuse(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
            return
        parts = self.path.split("?")[0].strip("/").split("/")
        is_info = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if is_info else parts[:2])
        folder = self.server.repositories.get(name)
        if folder is None or (self.server.private and not token):
            self._refuse(401, {"X-Error-Code": "RepoNotFound"})
        elif (parts[5] if is_info else parts[3]) not in ("main", COMMIT):
            self._refuse(404, {"X-Error-Code": "RevisionNotFound"})
        elif is_info:
            siblings = [self._sibling(path) for path in sorted(folder.iterdir())]
            body = json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode()
            self._send(200, {"Content-Length": str(len(body))}, body)
        else:
            self._file(folder / parts[4])

    def _sibling(self, path: Path) -> dict[str, object]:
        content = path.read_bytes()
        size = len(content) * self.server.inflate
        sibling: dict[str, object] = {"rfilename": path.name, "size": size, "blobId": sha1(content).hexdigest()}
        if path.name.endswith(LFS):
            sibling["lfs"] = {"size": size, "sha256": sha256(content).hexdigest(), "pointerSize": 130}
        return sibling

    def _file(self, path: Path) -> None:
        content = path.read_bytes()
        hash_ = sha256 if path.name.endswith(LFS) else sha1
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hash_(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        status, total = 200, len(content)
        if asked := self.headers.get("Range"):
            self.server.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").split("-")[0])
            status, content = 206, content[start:]
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        headers["Content-Length"] = str(len(content))
        if self.command == "GET" and path.suffix == ".bin" and self.server.cut is not None:
            content, self.close_connection = content[: self.server.cut], True
        self._send(status, headers, content)
        if self.command == "GET":
            self.server.sent[path.name] = self.server.sent.get(path.name, 0) + len(content)

    def _refuse(self, status: int, headers: dict[str, str]) -> None:
        self._send(status, headers | {"Content-Length": "0"}, b"")

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
