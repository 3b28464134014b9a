"""Programs whose standard error is read by people: native code writes there only if something fails."""

import contextlib
import faulthandler
import gc
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import TextIO


def import_keras_quietly() -> None:
    """Imports Keras and its backend without their greetings and warnings, and lets TensorFlow log errors only."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    first = "keras" not in sys.modules
    with native_stderr_if_it_fails(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras  # noqa: F401
    logging.getLogger("tensorflow").setLevel("ERROR")
    if first:
        # Imported modules live until exit; collecting garbage among them costs a tenth of a command's time.
        gc.freeze()


@contextlib.contextmanager
def native_stderr_if_it_fails() -> Iterator[None]:
    """Keeps what native code writes on standard error, and shows it only if the block fails.

    What Python writes to `sys.stderr` is shown at once. If native code ends the process, Python's fault handler prints
    where the program was.
    """
    with tempfile.TemporaryFile() as written, lasting_stderr() as shown, contextlib.redirect_stderr(shown):
        kept = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            with _faults_shown_on(kept):
                yield
        except BaseException:
            written.seek(0)
            with os.fdopen(os.dup(kept), "wb") as stream:
                shutil.copyfileobj(written, stream)
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def lasting_stderr() -> Iterator[TextIO]:
    """Gives standard error as it is now, also while native code's standard error is redirected."""
    own = sys.__stderr__
    if own is None or sys.stderr is not own:  # A caller, or a test, has redirected it already.
        yield sys.stderr
        return
    with os.fdopen(os.dup(2), "w", encoding=own.encoding, errors="replace", buffering=1) as stream:
        yield stream


@contextlib.contextmanager
def _faults_shown_on(descriptor: int) -> Iterator[None]:
    if faulthandler.is_enabled():
        yield
        return
    faulthandler.enable(file=descriptor)
    try:
        yield
    finally:
        faulthandler.disable()
