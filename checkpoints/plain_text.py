"""Text that comes from outside, as it may be shown: short, no control characters, and no secrets of URLs."""

import re
from collections.abc import Iterable

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_LOGIN = re.compile(r"(?<=://)[^/?#\s]*@")
# Without the punctuation of the sentence that the URL ends.
_VALUE = re.compile(r"(?<==)[^&#\s]+?(?=[.,:;)]*(?:[&#\s]|$))")
# Values of a query that are no secret. Signed URLs name theirs as they like, so all others are hidden.
_PUBLIC_QUERY = re.compile(r"tf-hub-format=\w+")
# A query without its URL, as in messages of HTTP libraries.
_SECRET = re.compile(r"([?&][\w.-]*(?:token|key|sig|pass|secret|auth|cred)[\w.-]*=)[^&#\s'\"),]+", re.IGNORECASE)
HIDDEN = "***"


def printable(text: str, keep: str = "") -> str:
    """Returns a text in which characters that a terminal would obey or hide are written as escapes, such as ``\\x1b``.

    Args:
        text: of any origin.
        keep: control characters that stay.

    Example:
        >>> printable("red\\x1b[31m")
        'red\\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def public_url(url: str) -> str:
    """Returns a URL without user and password, and with its query's values hidden; a path as it is.

    Example:
        >>> public_url("https://user:pass@example.org/net.tgz?token=abc")
        'https://example.org/net.tgz?token=***'
    """
    if "://" not in url:
        return url
    url, question, query = without_login(url).partition("?")
    if not question or _PUBLIC_QUERY.fullmatch(query):
        return url + question + query
    # A query that is no list of names and values may be a secret as a whole.
    return f"{url}?{_VALUE.sub(HIDDEN, query) if '=' in query else HIDDEN}"


def without_login(url: str) -> str:
    """Returns a URL without user and password."""
    return _LOGIN.sub("", url)


def without_secrets(text: str) -> str:
    """Returns a text in which every URL is a `public_url`."""
    if "://" in text:
        text = _URL.sub(lambda match: public_url(match[0]), text)
    return _SECRET.sub(rf"\1{HIDDEN}", text) if "=" in text else text


def shown(text: str, keep: str = "\n\t") -> str:
    """Returns a text as a person may see it: `printable` and `without_secrets`."""
    return without_secrets(printable(text, keep))


def few(names: Iterable[str], most: int = 5) -> str:
    """Returns the first names, and how many more there are: ``a, b and 3 more``."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
