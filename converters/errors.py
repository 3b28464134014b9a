"""What goes wrong on the way from a checkpoint to a model."""

from collections.abc import Sequence

from checkpoints.plain_text import shown
from converters.differences import MOST_NAMES, Difference, describe


class ConversionError(ValueError):
    """The variables, the model or the reference do not fit together; the message says where.

    Names from outside are in it with their control characters escaped, and URLs without their secrets.
    """

    def __str__(self) -> str:
        return shown(super().__str__())


class DifferencesError(ConversionError):
    """Two maps of variables differ; the message counts the differences and lists the first of them.

    Attributes:
        what: the sentence before the list.
        differences: all of them, as `converters.differences.differences` returns them.
    """

    def __init__(self, what: str, differing: Sequence[Difference], changed: str = "misshapen"):
        self.what, self.differences, self._changed = what, tuple(differing), changed
        super().__init__(self.text())

    def text(self, most: int | None = MOST_NAMES) -> str:
        """Returns the message with at most so many names; None for all."""
        return f"{self.what}: {describe(self.differences, self._changed, most=most)}"


class VerificationError(ConversionError):
    """A saved model differs from its source; nothing was written.

    Attributes:
        reports: the `Report` of each comparison that was made, the failed one last.
    """

    def __init__(self, message: str, reports: tuple = ()):
        super().__init__(message)
        self.reports = reports


class ConversionWarning(UserWarning):
    """A note on a conversion that succeeded."""
