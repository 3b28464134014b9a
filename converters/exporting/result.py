"""What an export wrote, how far it is from Keras, and what it takes and gives."""

import dataclasses
from pathlib import Path

from converters.text import shape_text


@dataclasses.dataclass(frozen=True)
class Export:
    """A file (or folder) for another runtime, and its difference from the Keras model.

    Attributes:
        path: The file or folder.
        format: name of the format.
        quantization: None, "float16" or "int8".
        size: Bytes of all its files.
        runtime: Name and version of the runtime.
        images: Number of images that it was compared on.
        max_relative: Largest absolute difference of the outputs, over the largest absolute output of the Keras model.
        tolerance: The largest ``max_relative`` allowed.
        top1_agreement: Share of images with the same largest output; None for feature maps. Not printed for noise.
        noise: Whether the images were noise, not the user's.
        input_type: "float32", or "uint8" for a full-integer file.
        input_shape: Shape of the input, with None for any length.
        input_range: Lowest and highest value of the images, before they are quantized.
        input_name: Name of the input in the file; None for a folder or weights.
        output_name: Name of the output; None likewise.
        output_shape: Shape of the output, with None for any length.
        output: What it is: "logits", "probabilities", "features", "a feature map" or "values".
        labels: Number of labels that are packed in the file.
    """

    path: Path
    format: str
    quantization: str | None
    size: int
    runtime: str
    images: int
    max_relative: float
    tolerance: float
    top1_agreement: float | None
    noise: bool = False
    input_type: str = "float32"
    input_shape: tuple[int | None, ...] = ()
    input_range: tuple[float, float] = (0.0, 1.0)
    input_name: str | None = None
    output_name: str | None = None
    output_shape: tuple[int | None, ...] = ()
    output: str = "values"
    labels: int = 0

    def facts(self) -> dict:
        """Returns the attributes as JSON values."""
        return dataclasses.asdict(self) | {"path": str(self.path)}

    def __str__(self) -> str:
        images = "1 image" if self.images == 1 else f"{self.images} images"
        images = f"{images} of noise" if self.noise else images
        agreement = (
            f"; the same class is first on {self.top1_agreement:.0%}"
            if self.top1_agreement is not None and not self.noise
            else ""
        )
        low, high = self.input_range
        integers = self.input_type == "uint8"
        bytes_in = ", as bytes 0 to 255 by the scale and zero point in the file" if integers else ""
        bytes_out = " (uint8, by its scale and zero point)" if integers else ""
        colours = "grayscale" if self.input_shape[-1:] == (1,) else "RGB"
        labels = f". {self.labels} labels are packed in it" if self.labels else ""

        def named(name: str | None) -> str:
            return f'"{name}" ' if name else ""

        return (
            f"{self.path} ({self.size / 1e6:.1f} MB) was run with {self.runtime} and compared with Keras on {images}: "
            f"the largest difference is {self.max_relative:.2g} of the largest output ({self.tolerance:g} is allowed)"
            f"{agreement}. It takes images {named(self.input_name)}{shape_text(self.input_shape)} "
            f"({self.input_type}; {colours}, channels last) in [{low:g}, {high:g}]{bytes_in}, and gives {self.output} "
            f"{named(self.output_name)}{shape_text(self.output_shape)}{bytes_out}{labels}."
        )
