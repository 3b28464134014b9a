"""An HTTP server on the loopback address that serves one file, correctly or with failures that a test chooses."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_REQUESTS = 300
PATIENCE = 60
"""Seconds until anything that waits here gives up, which ends a failing test."""


class FileServer:
    """The file, the answers to the next requests, and the requests received.

    Attributes:
        body: the bytes of the file, under every path.
        tag: its ETag, or None.
        answers: what to do with the next requests, one after the other; then `well`.
        requests: path and headers of those received.
        resume: an event that `pauses` waits for.
    """

    def __init__(self, port: int, body: bytes):
        self.port, self.body, self.tag = port, body, '"first"'
        self.answers: list[Callable] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.paused, self.resume = threading.Event(), threading.Event()
        self._one_at_a_time = threading.Lock()

    def url(self, path: str = "net.tgz") -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    @property
    def ranges(self) -> list[str | None]:
        """The range that each request asked for."""
        return [headers.get("Range") for _, headers in self.requests]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        with self._one_at_a_time:
            self.requests.append((request.path, dict(request.headers)))
            if len(self.requests) > MAX_REQUESTS:
                return
            answer = self.answers.pop(0) if self.answers else well
        answer(self, request)


@contextlib.contextmanager
def serving(body: bytes) -> Iterator[FileServer]:
    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE

        def do_GET(self):
            with contextlib.suppress(ConnectionError):
                files.answer(self)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        files = FileServer(server.server_address[1], body)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield files
        finally:
            files.resume.set()
            server.shutdown()
            thread.join()


def head(request, status: int, headers: dict[str, object]) -> None:
    request.send_response(status)
    for name, value in headers.items():
        if value is not None:
            request.send_header(name, str(value))
    request.end_headers()


def begin(files: FileServer, request) -> bytes:
    """Sends the head of a correct response and returns its body."""
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    start = int(asked[1]) if asked and request.headers.get("If-Range") in (None, files.tag) else 0
    rest, total = files.body[start:], len(files.body)
    if start >= total:
        head(request, 416, {"Content-Range": f"bytes */{total}", "Content-Length": 0})
        return b""
    ranged = {"Content-Range": f"bytes {start}-{total - 1}/{total}"} if start else {}
    head(request, 206 if start else 200, {"Content-Length": len(rest), "ETag": files.tag} | ranged)
    return rest


def well(files: FileServer, request) -> None:
    request.wfile.write(begin(files, request))


def interrupts(after: int) -> Callable:
    """Closes the connection after so many bytes of the body."""
    return lambda files, request: request.wfile.write(begin(files, request)[:after])


def pauses(after: int) -> Callable:
    """Send so many bytes of the body, and the rest after `resume` is set."""

    def answer(files, request):
        body = begin(files, request)
        request.wfile.write(body[:after])
        files.paused.set()
        files.resume.wait(PATIENCE)
        request.wfile.write(body[after:])

    return answer


def never_answers(files: FileServer, request) -> None:
    files.resume.wait(PATIENCE)


def knows_no_ranges(files: FileServer, request) -> None:
    head(request, 200, {"Content-Length": len(files.body), "ETag": files.tag})
    request.wfile.write(files.body)


def in_chunks(files: FileServer, request, step: int = 10_000) -> None:
    """Sends a body without its length."""
    request.protocol_version = "HTTP/1.1"
    head(request, 200, {"Transfer-Encoding": "chunked", "ETag": files.tag, "Connection": "close"})
    for start in range(0, len(files.body), step):
        piece = files.body[start : start + step]
        request.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    request.wfile.write(b"0\r\n\r\n")


def responds(status: int, body: bytes = b"", **headers: object) -> Callable:
    """Responds with a status; an underscore in the name of a header stands for a hyphen."""

    def answer(files, request):
        head(request, status, {"Content-Length": len(body)} | {k.replace("_", "-"): v for k, v in headers.items()})
        request.wfile.write(body)

    return answer


def then(*changes: tuple[str, object], answer: Callable = well) -> Callable:
    """Changes the file (its body, its tag) before the response."""

    def changed(files, request):
        for name, value in changes:
            setattr(files, name, value)
        answer(files, request)

    return changed
