"""What goes wrong on the way from a checkpoint to a model."""


class ConversionError(ValueError):
    """The variables, the model or the reference do not fit together; the message says where."""


class ConversionWarning(UserWarning):
    """The conversion goes on, and the user should know how."""
