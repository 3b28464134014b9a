"""Draws the convolutions of MobileNet V2 1.0/224 as ``docs/network.svg``, from the table of the network.

python -m docs.make_picture
"""

import math
import pathlib

from mobilenets.families import convolutions

FILE = pathlib.Path(__file__).with_name("network.svg")
SIZE, HEIGHT = 224, 80
COLOURS = {"full 3": "#4c78a8", "depthwise 3": "#f58518", "full 1": "#a0cbe8"}


def network_svg() -> str:
    """Returns the picture: a bar for each convolution, as high as its map and as wide as its channels are many."""
    left, size, bars = 10.0, float(SIZE), []
    for conv in convolutions("mobilenet_v2", 1.0, 1001):
        size = math.ceil(size / conv.stride) if "Logits" not in conv.scope else 1
        height, width = 4 + HEIGHT * size / SIZE * 2, 2 + conv.out_channels**0.5 / 3
        colour = COLOURS[f"{conv.kind} {conv.kernel_size}"]
        bars.append(
            f'<rect x="{left:.1f}" y="{50 - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}">'
            f"<title>{conv.scope}: {size:.0f}x{size:.0f}x{conv.out_channels}</title></rect>"
        )
        left += width + 3
    legend = "".join(
        f'<rect x="{10 + 190 * number}" y="105" width="10" height="10" fill="{colour}"/>'
        f'<text x="{25 + 190 * number}" y="114">{text}</text>'
        for number, (colour, text) in enumerate(
            zip(COLOURS.values(), ("convolution 3x3", "depthwise 3x3", "convolution 1x1"), strict=True)
        )
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + 10:.0f} 125" role="img" '
        'font-family="sans-serif" font-size="11" fill="#888">'
        "<title>The convolutions of MobileNet V2 1.0/224: map size as height, channels as width</title>\n"
        + "\n".join([*bars, legend])
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    FILE.write_text(network_svg())
