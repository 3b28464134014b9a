"""Strides and dilations of a network that is to keep a larger feature map."""

from collections.abc import Iterable, Iterator


def atrous(strides: Iterable[int], output_stride: int | None) -> Iterator[tuple[int, int]]:
    """Walks over nominal strides and turns those beyond `output_stride` into dilations.

    The rule of slim's ``mobilenet.py: mobilenet_base`` and ``mobilenet_v1.py: mobilenet_v1_base``: once the output
    stride is reached, a layer loses its stride but still runs at the old rate; only its successors dilate.

    Args:
        strides: nominal stride of each layer, from the image on.
        output_stride: how many times smaller than the image the feature map may become; None for no bound. A value
            that the strides step over or never reach changes nothing, as in slim.

    Yields:
        (stride, dilation) of each layer.
    """
    current_stride, rate = 1, 1
    for stride in strides:
        if current_stride == output_stride:
            yield 1, rate
            rate *= stride
        else:
            yield stride, 1
            current_stride *= stride
