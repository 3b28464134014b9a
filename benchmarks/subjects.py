"""What is measured: a work (a network at an image size) and the models that do it, all with made-up weights."""

import functools
import pathlib
from typing import NamedTuple

import keras
import numpy as np

import converters
import mobilenets

CLASSES = mobilenets.PUBLISHED_CLASSES
IMAGE_SEED = 0
WEIGHT_SEED = 1
FAMILIES = {
    "mobilenet_v1": "MobileNet V1",
    "mobilenet_v2": "MobileNet V2",
    "mobilenet_v3": "MobileNet V3",
    "inception_v2": "Inception V2",
}


class Work(NamedTuple):
    """A network at an image size."""

    family: str
    depth_multiplier: float
    image_size: int
    variant: str | None = None

    def __str__(self) -> str:
        return f"{self.network} {self.depth_multiplier} {self.image_size}"

    @property
    def network(self) -> str:
        """The family, and the variant of a MobileNet V3."""
        return f"{FAMILIES[self.family]} {self.variant}" if self.variant else FAMILIES[self.family]

    @property
    def options(self) -> dict[str, str]:
        """The variant as an argument."""
        return {"variant": self.variant} if self.variant else {}


V2_LARGE = Work("mobilenet_v2", 1.0, 224)
V2_SMALL = Work("mobilenet_v2", 0.35, 96)
V1 = Work("mobilenet_v1", 0.75, 224)
V3_LARGE = Work("mobilenet_v3", 1.0, 224, "large")
V3_SMALL = Work("mobilenet_v3", 1.0, 224, "small")
INCEPTION = Work("inception_v2", 1.0, 224)


def application_v3(**arguments) -> keras.Model:
    """MobileNet V3 of keras.applications, whose own layer to rescale images is left out."""
    variants = {"large": keras.applications.MobileNetV3Large, "small": keras.applications.MobileNetV3Small}
    return variants[arguments.pop("variant")](**arguments, include_preprocessing=False)


APPLICATIONS = {
    "mobilenet_v1": keras.applications.MobileNet,
    "mobilenet_v2": keras.applications.MobileNetV2,
    "mobilenet_v3": application_v3,
}


class Subject:
    """A work's models, each made when it is first asked for, and the files made of them.

    Args:
        work: what to do.
        folder: where the files go.
    """

    def __init__(self, work: Work, folder: pathlib.Path):
        self.work = work
        self.folder = folder

    @functools.cached_property
    def ours(self) -> keras.Model:
        return set_made_up_weights(new_model(self.work))

    @functools.cached_property
    def fused(self) -> keras.Model:
        return mobilenets.fuse(self.ours)

    @functools.cached_property
    def application(self) -> keras.Model:
        return set_made_up_weights(new_application(self.work))

    @functools.cached_property
    def frozen_graph(self) -> pathlib.Path:
        """The original slim graph with the weights of `ours`."""
        from tests.oracle.files import freeze

        path = self.folder / "slim.pb"
        freeze(
            path,
            self.work.family,
            converters.slim_variables(self.ours),
            depth_multiplier=self.work.depth_multiplier,
            image_size=self.work.image_size,
            **self.work.options,
        )
        return path

    def images(self, batch: int) -> np.ndarray:
        """The same images for everybody: float32 (batch, height, width, 3) in [0, 1]."""
        size = self.work.image_size
        return np.random.default_rng(IMAGE_SEED).uniform(size=(batch, size, size, 3)).astype(np.float32)


def new_model(work: Work, **options) -> keras.Model:
    """Ours, as `mobilenets.build` makes the published ones: images in [0, 1], logits."""
    size = work.image_size
    options = {"num_classes": CLASSES, **work.options, **options}
    return mobilenets.CONSTRUCTORS[work.family](work.depth_multiplier, (size, size, 3), **options)


def new_application(work: Work) -> keras.Model:
    """The counterpart in keras.applications, with logits too; its images are in [-1, 1]."""
    size = work.image_size
    return APPLICATIONS[work.family](
        input_shape=(size, size, 3),
        alpha=work.depth_multiplier,
        weights=None,
        classes=CLASSES,
        classifier_activation=None,
        **work.options,
    )


def set_made_up_weights(model: keras.Model) -> keras.Model:
    """Gives a model weights that keep activations near unit size, as a trained network has them.

    Through fifty layers the usual initial weights of some networks shrink a signal to denormal numbers, which
    processors compute many times slower; and outputs that small could not be compared.
    """
    rng = np.random.default_rng(WEIGHT_SEED)
    for layer in model.layers:
        for weight in layer.weights:
            if "seed" not in weight.name:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D) or weight.name == "depthwise_kernel"
                weight.assign(_values(weight.name, tuple(weight.shape), depthwise, "project" in layer.name, rng))
    return model


def _values(name: str, shape: tuple[int, ...], depthwise: bool, linear: bool, rng: np.random.Generator) -> np.ndarray:
    if name in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape)
    if name in ("beta", "bias", "moving_mean"):
        return rng.normal(0, 0.1, shape)
    # He initialization; without a rectifier after it, and to be added to a shortcut, a projection needs less.
    return rng.normal(0, np.sqrt((0.5 if linear else 2) / np.prod(shape[: 2 if depthwise else 3])), shape)
