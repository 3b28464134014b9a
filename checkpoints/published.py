"""Where the archives of the published models lie: one rule for each family, from multiplier and image size to URL."""

from itertools import product

_SIZES = (224, 192, 160, 128)
_MOBILENET_V1 = tuple(product((1.0, 0.75, 0.5, 0.25), _SIZES))
_MOBILENET_V2 = ((1.4, 224), (1.3, 224), *product((1.0, 0.75, 0.5, 0.35), (*_SIZES, 96)))
# Names write 0.5 as 050, archives as 0.5.
_NAME = "{family}_{percent:03d}_{size}"
_RULES = {
    "mobilenet_v2": (
        "https://storage.googleapis.com/mobilenet_v2/checkpoints/{family}_{multiplier}_{size}.tgz",
        _MOBILENET_V2,
    ),
    "mobilenet_v1": (
        "http://download.tensorflow.org/models/mobilenet_v1_2018_08_02/{family}_{multiplier}_{size}.tgz",
        _MOBILENET_V1,
    ),
}

ARCHIVES = {
    _NAME.format(family=family, percent=round(100 * multiplier), size=size): url.format(
        family=family, multiplier=multiplier, size=size
    )
    for family, (url, models) in _RULES.items()
    for multiplier, size in models
} | {"inception_v2": "http://download.tensorflow.org/models/inception_v2_2016_08_28.tar.gz"}
"""Published model -> URL of its archive."""
