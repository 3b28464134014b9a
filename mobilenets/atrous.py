"""Strides and dilations of a network with a larger feature map."""

from collections.abc import Iterable, Iterator


def atrous(strides: Iterable[int], output_stride: int | None) -> Iterator[tuple[int, int]]:
    """Yields the stride and dilation of each layer, with strides beyond `output_stride` turned into dilations.

    This is the rule of slim's ``mobilenet.py: mobilenet_base`` and ``mobilenet_v1.py: mobilenet_v1_base``. After the
    output stride is reached, a layer with a stride loses it and runs at the current rate; only the layers after it are
    dilated further.

    Args:
        strides: nominal stride of each layer, from the image on.
        output_stride: how many times smaller than the image the feature map may become; None for no limit. A value
            that the product of the strides never equals changes nothing, as in slim.

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
