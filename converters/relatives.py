"""Networks of slim that share code and names with these, recognised to be refused by name."""

from collections.abc import Iterable, Mapping

from converters.errors import ConversionError
from mobilenets import mobilenet_v3_spec

EDGE_TPU = "MobilenetEdgeTPU"


def refuse_relatives(names: Iterable[str], source: str) -> None:
    """Refuses a network that its scope alone identifies.

    Raises:
        ConversionError: the variables are those of a MobilenetEdgeTPU.
    """
    if any(f"{EDGE_TPU}/" in name for name in names):
        raise ConversionError(
            f"{source} holds a {EDGE_TPU}, whose first blocks expand by a full convolution; it is not among the "
            "networks that can be built. Give a checkpoint of MobileNet V1, V2 or V3 or Inception V2."
        )


def refuse_detection(family: str, observed: Mapping[str, int], options: Mapping, source: str) -> None:
    """Refuses the backbone of a detector, if that explains the widths; no other network does.

    Slim's ``V3_LARGE_DETECTION`` and ``V3_SMALL_DETECTION`` have half the width in the last three blocks and in
    ``Conv_1``.

    Args:
        family: of the variables.
        observed: scope -> output channels.
        options: the family's options that the names of the variables give.
        source: what to call the file.

    Raises:
        ConversionError: the widths are those of a detection variant.
    """
    if family != "mobilenet_v3":
        return
    for multiplier in (1.0, 0.75, 0.5, 0.35, 1.25, 1.5):
        convs = mobilenet_v3_spec.convolutions(multiplier, 1, **options, halved_tail=True)
        widths = {conv.scope: conv.out_channels for conv in convs}
        # A detector has no Conv_2.
        if all(widths[scope] == width for scope, width in observed.items() if not scope.endswith("/Conv_2")):
            raise ConversionError(
                f"{source} holds the detection variant of MobileNet V3 {options['variant']} (the last three blocks "
                "and Conv_1 are half as wide), which is the backbone of an SSD detector and cannot be built here. "
                "Give a checkpoint of the classification network."
            )
