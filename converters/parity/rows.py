"""The rows of a report: one for each variable, layer or endpoint."""

from dataclasses import dataclass

# What the rows of a hub module are called that are no endpoints in inference mode.
TRAINING, UPDATED, REGULARIZATION = "training: ", "after it: ", "regularization loss"


@dataclass(frozen=True)
class WeightRow:
    """One variable (or one layer whose structure differs): whether model and reference are equal.

    Attributes:
        name: slim variable name, or ``layer <slim scope>``.
        shape: of the reference, or of the model where the reference has none.
        finding: "equal", "missing in the model", "missing in the reference", "shape ..." or "N values differ"; of a
            layer, both descriptions.
        passed: whether it is equal.
    """

    name: str
    shape: tuple[int, ...]
    finding: str
    passed: bool


@dataclass(frozen=True)
class OutputRow:
    """One endpoint: how far the reference is from the exact model, and how far it may be.

    Attributes:
        name: endpoint name, as hub modules have it.
        shape: of the reference.
        model_shape: of the model.
        reference_error: ``max|R - E| / max|E|``, R the reference and E the exact model (NaN where the shapes differ).
        rounding: the same of our model in float32 on TensorFlow.
        bound: what ``reference_error`` may be: the larger of the floor and 4 x ``rounding``, or the user's tolerance.
        model_error: the same error of the model as it is, with its own dtype policy and backend; None in training
            mode, where it is not computed.
        max_absolute: ``max|R - E|``.
        cosine: cosine similarity of reference and exact model.
        top1_agreement: for logits, the share of images whose highest class is the same; None elsewhere.
        passed: whether ``reference_error`` is within ``bound``.
    """

    name: str
    shape: tuple[int, ...]
    model_shape: tuple[int, ...]
    reference_error: float
    rounding: float
    bound: float
    model_error: float | None
    max_absolute: float
    cosine: float
    top1_agreement: float | None
    passed: bool

    @property
    def max_relative(self) -> float:
        """The former name of `reference_error`."""
        return self.reference_error
