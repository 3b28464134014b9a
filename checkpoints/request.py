"""A request in a thread of its own, so that a server which drips bytes is not waited for without a limit."""

import queue
import threading
from typing import Any

import requests

READ = 1 << 13
"""Bytes of a piece. A server that needs longer for it than the limit of the caller is as good as silent."""
MAX_REDIRECTS = 10
_PIECES = 16  # that wait for the caller


class TooSlow(Exception):
    """The server sends, but too little."""


class Request:
    """A GET request whose answer is read piece by piece.

    The timeouts of `requests` are for each packet, of which a server may send one byte at a time. Here the caller
    limits the wait for the answer and for each piece; a thread whose server is too slow is left behind.

    Args:
        url: http or https.
        headers: of the request.
        timeout: seconds for the connection and for each packet.
    """

    def __init__(self, url: str, headers: dict[str, str], timeout: float):
        self._items: queue.Queue[Any] = queue.Queue(_PIECES)
        self._wanted, self._ended = threading.Event(), threading.Event()
        threading.Thread(target=self._work, args=(url, headers, timeout), daemon=True).start()

    def __enter__(self) -> "Request":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._wanted.set()

    def response(self, seconds: float) -> requests.Response:
        """Returns the response, whose body is not read yet.

        Raises:
            TooSlow: there is none after so many seconds.
        """
        return self._next(seconds)

    def piece(self, seconds: float) -> bytes:
        """Returns the next bytes of the body as the server sent them; none at the end.

        Raises:
            TooSlow: they are not complete after so many seconds.
        """
        self._wanted.set()
        return self._next(seconds)

    def _next(self, seconds: float) -> Any:
        try:
            item = self._items.get(timeout=seconds)
        except queue.Empty:
            raise TooSlow from None
        if isinstance(item, BaseException):
            raise item
        return item

    def _work(self, url: str, headers: dict[str, str], timeout: float) -> None:
        try:
            # A new session for each request never reuses a connection that the server has closed.
            with requests.Session() as session:
                session.max_redirects = MAX_REDIRECTS
                with session.get(url, headers=headers, timeout=timeout, stream=True) as response:
                    self._put(response)
                    self._wanted.wait()
                    # Not `iter_content`, which would decompress a .tgz that a server declares as "gzip-encoded".
                    pieces = response.raw.stream(READ, decode_content=False)
                    while not self._ended.is_set() and self._put(piece := next(pieces, b"")) and piece:
                        pass
        except BaseException as error:  # the caller raises it
            self._put(error)

    def _put(self, item: object) -> bool:
        """Hands an item to the caller; False if it no longer wants any."""
        while not self._ended.is_set():
            try:
                self._items.put(item, timeout=1.0)
                return True
            except queue.Full:
                continue
        return False
