"""The scope of a convolution, from the name of its operation."""

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")

# Name scopes of functions that slim calls for one convolution: they are no variable scopes.
_WRAPPERS = ("separable_conv2d", "convolution", "Conv2D")


def without_wrappers(name: str) -> str:
    """``net/Conv2d_1a_7x7/separable_conv2d/depthwise`` -> ``net/Conv2d_1a_7x7``."""
    scope = name.rpartition("/")[0]
    while scope.rpartition("/")[2] in _WRAPPERS:
        scope = scope.rpartition("/")[0]
    return scope
