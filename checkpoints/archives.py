"""URLs of the published models' archives.

`mobilenets.get_model_info` has the same URLs. They are repeated for `fetch`, because this package must not import
`mobilenets`; a test compares both.
"""

from itertools import product

_SIZES = (224, 192, 160, 128)
_V1 = "http://download.tensorflow.org/models/mobilenet_v1_2018_08_02/mobilenet_v1_{}_{}.tgz"
_V2 = "https://storage.googleapis.com/mobilenet_v2/checkpoints/mobilenet_v2_{}_{}.tgz"
_V3 = "https://storage.googleapis.com/mobilenet_v3/checkpoints/v3-{}_224_{{}}_float.tgz"
_MODELS = [
    *(("mobilenet_v1", _V1, multiplier, size) for multiplier, size in product((1.0, 0.75, 0.5, 0.25), _SIZES)),
    *(("mobilenet_v2", _V2, multiplier, size) for multiplier, size in product((1.0, 0.75, 0.5, 0.35), (*_SIZES, 96))),
    *(("mobilenet_v2", _V2, multiplier, 224) for multiplier in (1.4, 1.3)),
    *(
        (f"mobilenet_v3_{size}", _V3.format(size), multiplier, 224)
        for size, multiplier in product(("large", "small"), (1.0, 0.75))
    ),
    *(
        (f"mobilenet_v3_{size}_minimalistic", _V3.format(f"{size}-minimalistic"), 1.0, 224)
        for size in ("large", "small")
    ),
]

ARCHIVES = {
    f"{family}_{round(100 * multiplier):03d}_{size}": url.format(multiplier, size)
    for family, url, multiplier, size in _MODELS
} | {"inception_v2": "http://download.tensorflow.org/models/inception_v2_2016_08_28.tar.gz"}
"""``{name of a published model: URL of its archive}``."""
