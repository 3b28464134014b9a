"""Unpacks archives (``.tgz``, ``.tar.gz``, ``.tar``, ``.zip``) of untrusted origin."""

import gzip
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from checkpoints.errors import CheckpointError, reason
from checkpoints.inputs import allowance

MAX_MEMBERS = 10_000
MAX_BYTES = 4 * 2**30
MAX_NAME_BYTES = 2**16
# Names of the files of a checkpoint in either format, of a frozen graph, of a LiteRT model, of HDF5, of safetensors, of
# PyTorch in a folder of transformers, and of the state file of a folder of checkpoints. A V1 file has no fixed suffix.
VARIABLES = (
    r"(?:.*/)?(?:checkpoint|pytorch_model\.bin)"
    r"|.*(?:\.index|\.data-\d{5}-of-\d{5}|\.ckpt|-\d+|\.pb|\.tflite|\.h5|\.hdf5|\.safetensors)"
)
# Without variables, but needed to read them.
COMPANIONS = r"(?:.*/)?config\.json|.*\.safetensors\.index\.json"
UNPACKED = re.compile(f"{VARIABLES}|{COMPANIONS}")
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\3\4"
_NAME_TYPES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X")


def is_archive(path: Path) -> bool:
    """Whether a file begins like a gzip or a tar file, has the suffix ``.tar``, or is a zip archive of variables."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        head = stream.read(512)
    if head.startswith(_ZIP_MAGIC):
        return _is_zip_of_variables(path)
    return head.startswith(_GZIP_MAGIC) or head[257:262] == b"ustar" or path.suffix == ".tar"


def _is_zip_of_variables(path: Path) -> bool:
    """Returns whether a zip archive has files of variables; files of Keras, PyTorch and NumPy are zip archives too."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return path.suffix == ".zip"
    return "metadata.json" not in names and any(re.fullmatch(VARIABLES, name) for name in names)


def has_checksums(path: Path) -> bool:
    """Returns whether an archive is compressed by gzip or is a zip archive: both store a CRC-32 of their content."""
    with open(path, "rb") as stream:
        return stream.read(len(_ZIP_MAGIC)).startswith((_GZIP_MAGIC, _ZIP_MAGIC))


def is_gzip(path: Path) -> bool:
    """Returns whether a file begins like gzip, which stores a CRC-32 of its content."""
    with open(path, "rb") as stream:
        return stream.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks those members of an archive that can hold variables.

    The unpacked bytes are counted, because a header may state a wrong size; unpacking stops at a limit.

    Args:
        archive: a tar file, plain or compressed by gzip, or a zip archive.
        folder: an empty folder.

    Raises:
        CheckpointError: the archive is damaged or too large, or one of its members has a path outside the folder or
            is a link, a device or another special file. Nothing of such an archive should be used.
    """
    try:
        if has_zip_magic(archive):
            _unpack_zip(archive, folder)
            return
        with open(archive, "rb") as raw:
            stream = _Bounded(gzip.GzipFile(fileobj=raw) if is_gzip(archive) else raw, archive)
            # Mode "r|" reads strictly forward, so a method `read` is enough.
            with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", tarinfo=_Member) as members:
                for member in _checked(members, archive):
                    if UNPACKED.fullmatch(member.name) and (source := members.extractfile(member)):
                        _extract(source, member, folder)
            while stream.read(1 << 20):  # gzip compares its checksum at the end only
                pass
    except CheckpointError:
        raise
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        zlib.error,
        ValueError,
    ) as error:
        raise CheckpointError(f"{archive} is damaged or not an archive: {reason(error)}.") from error


def _checked(members: Iterable[tarfile.TarInfo], archive: Path) -> Iterator[tarfile.TarInfo]:
    names = set()
    for count, member in enumerate(members, 1):
        if count > MAX_MEMBERS:
            raise CheckpointError(f"{archive} is refused, because it has more than {MAX_MEMBERS} members.")
        refused = f"{archive} is refused, because its member {member.name!r}"
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
            raise CheckpointError(f"{refused} would be written outside the folder of the archive.")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or member.issparse():
            raise CheckpointError(f"{refused} is neither a plain file nor a folder.")
        if member.isfile() and path in names:
            raise CheckpointError(f"{refused} occurs twice.")
        names.add(path)
        yield member


def has_zip_magic(path: Path) -> bool:
    """Returns whether a file begins like a zip archive."""
    with open(path, "rb") as stream:
        return stream.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC


def _unpack_zip(archive: Path, folder: Path) -> None:
    """Unpacks a zip archive with the checks of `unpack`, for which its members become headers of a tar file."""
    with zipfile.ZipFile(archive) as zipped:
        most = _limit(archive)
        headers, left = [], most
        for info in zipped.infolist():
            # The file that has a NUL in its name, or a backslash, is refused by its original name.
            header = tarfile.TarInfo(info.orig_filename.rstrip("/"))
            is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
            header.type = tarfile.SYMTYPE if is_link else tarfile.DIRTYPE if info.is_dir() else tarfile.REGTYPE
            header.size = info.file_size
            headers.append((header, info))
        list(_checked((header for header, _ in headers), archive))
        for header, info in headers:
            if header.isfile() and UNPACKED.fullmatch(header.name):
                left -= header.size
                if left < 0:
                    raise CheckpointError(f"{archive} is refused, because it unpacks to more than {most} bytes.")
                # `zipfile` never yields more bytes than the size in the header, and compares their CRC-32.
                with zipped.open(info) as source:
                    _extract(source, header, folder)


def _extract(source: IO[bytes], member: tarfile.TarInfo, folder: Path) -> None:
    target = folder / PurePosixPath(member.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "xb") as sink:
        while piece := source.read(1 << 20):
            sink.write(piece)
    if target.stat().st_size != member.size:
        raise EOFError(f"its member {member.name} is cut short")


def _limit(archive: Path) -> int:
    return min(MAX_BYTES, allowance(archive.stat().st_size))


class _Bounded:
    """A stream that fails after too many bytes."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, archive: Path):
        self._stream, self._archive, self._most = stream, archive, _limit(archive)
        self._left = self._most

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise CheckpointError(f"{self._archive} is refused, because it unpacks to more than {self._most} bytes.")
        return data


class _Member(tarfile.TarInfo):
    """A header that limits the length of a name, because tarfile reads a long name into memory at once."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        member = super().frombuf(buf, encoding, errors)
        if member.type in _NAME_TYPES and member.size > MAX_NAME_BYTES:
            raise ValueError(f"the name of a member has {member.size} bytes")
        return member
