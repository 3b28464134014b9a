"""Why a file cannot be read as an image."""

from typing import NamedTuple

from converters.images.headers import MAX_PIXELS, Header


class Broken(NamedTuple):
    """An image that could not be read, and a sentence with the reason."""

    path: str
    reason: str


# How files begin that are often named like images.
_BEGINNINGS = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"<!doctype html", "HTML"),
    (b"<html", "HTML"),
    (b"<head", "HTML"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML"),
    (b"%pdf", "PDF"),
    (b"pk\3\4", "ZIP"),
    (b"8bps", "PSD"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cjxl ", "JPEG XL"),
    (b"\0\0\0\x0cjp  ", "JPEG 2000"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)
_ISO_MEDIA = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}


def unreadable(path: object, data: bytes) -> str:
    """Returns a sentence on a file that no decoder takes: empty, cut short, damaged, or of another kind."""
    return f"{path} is not an image that can be read: {_why(data)}."


def too_large(path: object, header: Header) -> str:
    """Returns a sentence on an image of more than `MAX_PIXELS`."""
    return (
        f"{path} is too large: {header.width}x{header.height} pixels (width x height). At most {MAX_PIXELS // 10**6} "
        "million pixels are read; make it smaller."
    )


def _why(data: bytes) -> str:
    if not data:
        return "it is empty"
    for name, begins, whole in (
        ("JPEG", data[:3] == b"\xff\xd8\xff", b"\xff\xd9" in data[-1024:]),
        ("PNG", data[:4] == b"\x89PNG", b"IEND" in data[-64:]),
        ("GIF", data[:4] == b"GIF8", data[-1:] == b";"),
        ("BMP", data[:2] == b"BM", int.from_bytes(data[2:6], "little") <= len(data)),
        ("WebP", data[:4] == b"RIFF" and data[8:12] == b"WEBP", int.from_bytes(data[4:8], "little") + 8 <= len(data)),
    ):
        if begins:
            return f"it is a {name} file that is {'damaged' if whole else 'cut short'}"
    begin = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, name in _BEGINNINGS:
        if begin.startswith(start.lower()):
            return f"it begins like {name}"
    if data[4:8] == b"ftyp":
        return f"it begins like {_ISO_MEDIA.get(data[8:12], 'a video')}"
    return "it is none of JPEG, PNG, GIF, BMP and WebP"
