"""Family, multiplier, head and class count from names and shapes alone; the shapes are those of the slim graphs."""

import pytest

import mobilenets
from converters import ConversionError
from converters.recognition import recognise
from mobilenets import SCOPES
from tests.oracle.run import variable_shapes
from tests.test_build_widths import make_divisible

INFOS = [mobilenets.get_model_info(name) for name in mobilenets.list_models()]
PUBLISHED = sorted({(info.family, info.depth_multiplier) for info in INFOS})
V3 = ("large", "small", "large_minimalistic", "small_minimalistic")


@pytest.mark.parametrize(("family", "multiplier"), PUBLISHED)
@pytest.mark.parametrize("num_classes", [1001, 5, None])
def test_published(family, multiplier, num_classes):
    shapes = dict(variable_shapes(family, multiplier))
    for leaf in ("weights", "biases"):
        name = f"{SCOPES[family]}/Logits/Conv2d_1c_1x1/{leaf}"
        *before, _ = shapes.pop(name)
        if num_classes:
            shapes[name] = (*before, num_classes)
    network = recognise(shapes, "x.ckpt")
    assert (network.family, network.depth_multiplier, network.num_classes) == (family, multiplier, num_classes)
    assert network.scale_last_layer is None


OTHERS = [
    (family, multiplier)
    for family in ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "inception_v2")
    for multiplier in (0.05, 0.2, 0.33, 0.9, 1.333, 2.0)
]


@pytest.mark.parametrize(("family", "multiplier"), OTHERS)
def test_any_other_multiplier_gives_the_same_network(family, multiplier):
    """Rounding hides the exact multiplier; what is recognised must give the same shapes."""
    shapes = variable_shapes(family, multiplier)
    network = recognise(shapes, "x.ckpt")
    assert variable_shapes(family, network.depth_multiplier) == shapes


@pytest.mark.parametrize(("multiplier", "finegrain"), [(0.35, False), (0.6, False), (1.4, True)])
def test_last_layer_exception_is_told_from_the_width(multiplier, finegrain):
    shapes = variable_shapes("mobilenet_v2", multiplier, finegrain=finegrain)
    network = recognise(shapes, "x.ckpt")
    assert network.depth_multiplier == multiplier
    assert network.scale_last_layer is not finegrain


@pytest.mark.parametrize("variant", V3)
@pytest.mark.parametrize("multiplier", [0.2, 0.35, 0.75, 1.0, 1.3])
def test_variant_of_mobilenet_v3(variant, multiplier):
    shapes = dict(variable_shapes("mobilenet_v3", multiplier, variant=variant, num_classes=7))
    network = recognise(shapes, "x.ckpt")
    size, _, minimalistic = variant.partition("_")
    assert (network.options["variant"], network.options["minimalistic"]) == (size, bool(minimalistic))
    found = mobilenets.variable_shapes("mobilenet_v3", network.depth_multiplier, 7, **network.options)
    assert found == shapes


def test_a_missing_variable_does_not_change_the_variant():
    shapes = dict(variable_shapes("mobilenet_v3", 1.0, variant="small"))
    del shapes["MobilenetV3/expanded_conv/squeeze_excite/Conv/weights"]
    network = recognise(shapes, "x.ckpt")
    assert (network.options["variant"], network.options["minimalistic"]) == ("small", False)


@pytest.mark.parametrize(
    ("size", "halved"),
    [("large", {"12": 80, "13": 80, "14": 80, "Conv_1": 480}), ("small", {"8": 48, "9": 48, "10": 48, "Conv_1": 288})],
)
def test_detection_variants_are_refused_by_name(size, halved):
    """The last three blocks and Conv_1 have half the width; each expansion counts from its real input."""
    shapes = dict(variable_shapes("mobilenet_v3", 1.0, variant=size, num_classes=None))
    shapes = {name: shape for name, shape in shapes.items() if "/Conv_2/" not in name}
    for block, width in halved.items():
        scope = f"MobilenetV3/{block}" if block == "Conv_1" else f"MobilenetV3/expanded_conv_{block}/project"
        shapes[f"{scope}/weights"] = (*shapes[f"{scope}/weights"][:3], width)
    for block in list(halved)[1:3]:
        name = f"MobilenetV3/expanded_conv_{block}/expand/weights"
        shapes[name] = (1, 1, halved[block], 6 * halved[block])
    for block in list(halved)[1:3]:
        scope = f"MobilenetV3/expanded_conv_{block}/squeeze_excite"
        squeezed = make_divisible(6 * halved[block] / 4)
        shapes[f"{scope}/Conv/weights"] = (1, 1, 6 * halved[block], squeezed)
        shapes[f"{scope}/Conv_1/weights"] = (1, 1, squeezed, 6 * halved[block])
    with pytest.raises(ConversionError, match=f"detection variant of MobileNet V3 {size}"):
        recognise(shapes, "x.ckpt")


def test_edge_tpu_is_refused_by_name():
    with pytest.raises(ConversionError, match="MobilenetEdgeTPU"):
        recognise({"MobilenetEdgeTPU/Conv/weights": (3, 3, 3, 32)}, "x.ckpt")


def test_one_misshapen_variable_does_not_mislead():
    shapes = dict(variable_shapes("mobilenet_v2", 0.5))
    shapes["MobilenetV2/expanded_conv_5/project/weights"] = (1, 1, 96, 24)
    assert recognise(shapes, "x.ckpt").depth_multiplier == 0.5


def test_other_network_is_named():
    with pytest.raises(ConversionError, match=r"x\.ckpt holds no network of .*MobilenetV2.*: .*resnet_v1_50"):
        recognise({"resnet_v1_50/conv1/weights": (7, 7, 3, 64)}, "x.ckpt")


def test_scope_without_weights():
    with pytest.raises(ConversionError, match="no weights of its convolutions"):
        recognise({"MobilenetV1/Conv2d_0/BatchNorm/beta": (8,)}, "x.ckpt")


@pytest.mark.parametrize("name", mobilenets.list_models())
@pytest.mark.parametrize("form", ["{}.ckpt.index", "{}.tgz", "dir_{}_x", "{}_frozen.pb"])
def test_file_names_of_the_published_models(name, form):
    info = mobilenets.get_model_info(name)
    archive = info.checkpoint_url.rpartition("/")[2].removesuffix(".tgz").removesuffix(".tar.gz")
    assert mobilenets.model_in_file_name(form.format(archive)) == info
    assert mobilenets.model_in_file_name(form.format(name)) == info


@pytest.mark.parametrize("name", ["model.ckpt", "mobilenet_v2_9.9_224.ckpt", "mobilenet_v3_1.0_224", "resnet"])
def test_other_file_names_say_nothing(name):
    assert mobilenets.model_in_file_name(name) is None
