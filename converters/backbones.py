"""Networks that end before the last convolution, as dense prediction and two-stage detection use them."""

from collections.abc import Iterable

import keras

import mobilenets
from converters.recognition import Network
from mobilenets import layer_name
from mobilenets.families import convolutions


def last_convolution(network: Network, names: Iterable[str]) -> str | None:
    """The scope of the last convolution that has variables, if the network ends there; None where it is complete.

    A network with logits is complete: convolutions without variables are then missing.

    Args:
        network: what the variables are recognised as.
        names: their slim names.
    """
    if network.num_classes is not None:
        return None
    scopes = _convolutions(network)
    present = {scope for scope in scopes if any(name.startswith(f"{scope}/") for name in names)}
    last = max((index for index, scope in enumerate(scopes) if scope in present), default=len(scopes) - 1)
    return None if last == len(scopes) - 1 else scopes[last]


def cut(model: keras.Model, network: Network, names: Iterable[str]) -> tuple[keras.Model, str | None]:
    """Cuts a feature map model after the last endpoint whose variables exist.

    Args:
        model: the complete network.
        network: what it is.
        names: slim names of the variables that exist.

    Returns:
        The model and the name of its last endpoint; the same model and None where all convolutions have variables.
    """
    last = last_convolution(network, list(names))
    if last is None:
        return model, None
    scopes = _convolutions(network)
    later = {layer_name(scope) for scope in scopes[scopes.index(last) + 1 :]}
    for endpoint, tensor in reversed(mobilenets.endpoints(model).items()):
        part = keras.Model(model.input, tensor, name=model.name)
        if not later & {layer.name for layer in part.layers}:
            return part, endpoint
    return model, None


def _convolutions(network: Network) -> list[str]:
    """Returns the scopes of a network's convolutions in order, without the logits."""
    return [conv.scope for conv in convolutions(network.family, network.depth_multiplier, **network.options)[:-1]]
