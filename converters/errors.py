"""What goes wrong on the way from a checkpoint to a model."""


class ConversionError(ValueError):
    """The variables, the model or the reference do not fit together; the message says where."""


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
