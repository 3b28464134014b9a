"""Which hosts take connections: all are tried at once, to say within seconds that there is no network."""

import socket
import threading
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

import requests

from checkpoints.errors import reason

SECONDS = 3.0


def unreachable(urls: Iterable[str], seconds: float = SECONDS) -> dict[str, str]:
    """Returns ``{URL: reason}`` for the URLs whose host, or the proxy in front of it, takes no connection.

    Threads connect to all hosts at once, because the look-up of a name has no timeout of its own.

    Args:
        urls: http or https.
        seconds: how long to wait for all of them.
    """
    servers = {url: _server(url) for url in urls}
    answers: dict[tuple[str, int], str | None] = {}

    def connect(server: tuple[str, int]) -> None:
        try:
            with socket.create_connection(server, timeout=seconds):
                answers[server] = None
        except (OSError, UnicodeError) as error:
            answers[server] = getattr(error, "strerror", None) or reason(error)

    threads = [threading.Thread(target=connect, args=(server,), daemon=True) for server in {*servers.values()} - {None}]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    late = f"no answer within {seconds:g} seconds"
    why = {url: answers.get(server, late) for url, server in servers.items() if server}
    return {url: f"there is no connection to {_text(servers[url])}: {text}" for url, text in why.items() if text}


def _server(url: str) -> tuple[str, int] | None:
    """Returns host and port to connect to for a URL: its own, or the proxy's; None if the URL has none."""
    try:
        proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
        parts = urlsplit(proxy if proxy and "://" in proxy else f"http://{proxy}" if proxy else url)
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
        return (parts.hostname, port) if parts.hostname else None
    except ValueError:
        return None  # the download says what is wrong with it


def _text(server: tuple[str, int] | None) -> str:
    return "" if server is None else f"{server[0]}:{server[1]}"
