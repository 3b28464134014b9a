"""The picture of a network, and the command `info`."""

import importlib.util
import json

import pytest
from click.testing import CliRunner

import converters
import mobilenets
from converters.cli import main
from converters.commands.info import info_command
from converters.inspection.graph import steps_of
from converters.inspection.network_plot import Box, blocks_of, plot_network
from tests.networks import CONSTRUCTORS
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

PNG = b"\x89PNG\r\n\x1a\n"


def invoke(*arguments):
    """Runs the command in the program, which reports unusable input."""
    program = type(main)("mobilenets", commands={"info": info_command})
    return CliRunner().invoke(program, ["info", *map(str, arguments)], prog_name="mobilenets")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Returns a converted model with its manifest."""
    path = tmp_path_factory.mktemp("info") / "model.keras"
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    converters.save_model(converters.conversion_of(variables, name="mobilenet_v1_025_128"), path)
    return path


def blocks(family, fused=False, **arguments):
    model = CONSTRUCTORS[family](1.0, (224, 224, 3), **arguments)
    return blocks_of(steps_of(mobilenets.fuse(model) if fused else model))


@pytest.mark.parametrize("fused", [False, True])
def test_blocks_of_mobilenet_v2(fused):
    actual = blocks("mobilenet_v2", fused)
    names = ["Conv", "expanded_conv", *(f"expanded_conv_{i}" for i in range(1, 17)), "Conv_1", "global_pool", "Logits"]
    assert [block.name for block in actual] == names
    residual = {f"expanded_conv_{i}" for i in (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)}
    assert {block.name for block in actual if block.residual} == residual
    assert actual[2].branches == ((Box("full", "1x1  96"), Box("depthwise", "dw 3x3 /2"), Box("full", "1x1  24")),)
    assert [actual[index].output for index in (0, 2, 18, 20)] == [(112, 112, 32), (56, 56, 24), (7, 7, 1280), (1001,)]


def test_blocks_of_mobilenet_v1():
    actual = blocks("mobilenet_v1", output_stride=16)
    assert [block.name for block in actual] == [*(f"Conv2d_{i}" for i in range(14)), "global_pool", "Logits"]
    assert actual[0].branches == ((Box("full", "3x3 /2  32"),),)
    assert actual[1].branches == ((Box("depthwise", "dw 3x3"), Box("full", "1x1  64")),)
    # The stride of block 12 becomes the dilation of block 13.
    assert [actual[index].branches[0][0].label for index in (12, 13)] == ["dw 3x3", "dw 3x3 @2"]
    assert actual[13].output == (14, 14, 1024)


def test_blocks_of_inception_v2():
    actual = {block.name: block for block in blocks("inception_v2")}
    assert list(actual)[:5] == ["Conv2d_1a_7x7", "MaxPool_2a_3x3", "Conv2d_2b_1x1", "Conv2d_2c_3x3", "MaxPool_3a_3x3"]
    assert [len(block.branches) for name, block in actual.items() if name.startswith("Mixed")] == [
        4,
        4,
        3,
        4,
        4,
        4,
        4,
        3,
        4,
        4,
    ]
    assert actual["Conv2d_1a_7x7"].branches == ((Box("separable", "sep 7x7 /2  64"),),)
    assert actual["Mixed_4a"].branches == (
        (Box("full", "1x1  128"), Box("full", "3x3 /2  160")),
        (Box("full", "1x1  64"), Box("full", "3x3  96"), Box("full", "3x3 /2  96")),
        (Box("pool", "max 3x3 /2"),),
    )
    assert actual["Mixed_5c"].branches[3] == (Box("pool", "max 3x3"), Box("full", "1x1  128"))
    assert actual["Mixed_5c"].output == (7, 7, 1024)


@pytest.mark.parametrize("family", CONSTRUCTORS)
def test_the_picture_contains_every_block_and_label(family, tmp_path):
    """An SVG with text as text contains every label."""
    pytest.importorskip("matplotlib")
    import matplotlib

    size = 224 if family == "mobilenet_v3" else 64  # its pool needs a map of 7x7
    model = CONSTRUCTORS[family](0.25, (None, None, 3), name="<network>")
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        plot_network(model, tmp_path / "net.svg", size)
    picture = (tmp_path / "net.svg").read_text()
    for block in blocks_of(steps_of(model, size)):
        assert f">{block.name}<" in picture
        assert f">{'x'.join(map(str, block.output))}<" in picture
        assert all(f">{box.label}<" in picture or f"> {box.label}<" in picture for row in block.branches for box in row)
    assert "&lt;network&gt;" in picture
    assert [file.name for file in tmp_path.iterdir()] == ["net.svg"]


def test_info_of_a_file(converted):
    facts = json.loads(invoke(converted, "--json").stdout)
    info = mobilenets.get_model_info("mobilenet_v1_025_128")
    assert (facts["macs"], facts["parameters"]) == (info.macs, info.parameters)
    assert facts["published"] == json.loads(json.dumps(info.to_dict()))
    text = invoke(converted).stdout
    assert "13,570,304 (published: 14 million, at 128x128 with 1001 logits)" in text
    assert "315x315 pixels" in text and "1.90 MB" in text and "0.39 MB per image" in text


@pytest.mark.parametrize(("name", "published"), [("mine", None), ("mobilenet_v1_025_160", "mobilenet_v1_025_160")])
def test_info_of_a_file_without_manifest_and_size(name, published, tmp_path):
    mobilenets.MobileNetV1(0.25, (None, None, 3), name=name).save(tmp_path / "m.keras")
    facts = json.loads(invoke(tmp_path / "m.keras", "--json").stdout)
    assert (facts["published"] or {}).get("name") == published
    assert facts["input"] == ([160, 160, 3] if published else [224, 224, 3])
    text = invoke(tmp_path / "m.keras").stdout
    assert ("published: 21 million" in text) == bool(published)
    assert ("not identified" in text) != bool(published)


def test_a_file_that_differs_from_its_manifest_is_refused(tmp_path):
    variables = converters.slim_variables(mobilenets.MobileNetV1(0.25, (32, 32, 3), num_classes=3))
    conversion = converters.conversion_of(variables, input_shape=(32, 32, 3))
    converters.save_model(conversion, tmp_path / "model.keras")
    layer = next(layer for layer in conversion.model.layers if layer.weights)
    layer.weights[0].assign(-layer.weights[0])
    conversion.model.save(tmp_path / "model.keras")
    result = invoke(tmp_path / "model.keras")
    assert result.exit_code == 2
    assert "does not hold the weights that its manifest lists" in result.stderr


def test_info_of_a_published_name():
    info = mobilenets.get_model_info("mobilenet_v2_035_96")
    assert json.loads(invoke(info.hub_handle, "--json").stdout) == info.to_dict()


def test_plot_of_a_file_and_of_a_name(converted, tmp_path):
    pytest.importorskip("matplotlib")
    for model in (converted, "mobilenet_v1_025_128"):
        result = invoke(model, "--plot", tmp_path / "net.png")
        assert result.exit_code == 0, result.output
        assert (tmp_path / "net.png").read_bytes().startswith(PNG)
        (tmp_path / "net.png").unlink()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mobilenet_v9"], "No published model is called 'mobilenet_v9'"),
        (["{folder}/none.keras"], "none.keras does not exist"),
        (["{model}", "--plot", "{folder}/net.gif"], "net.gif must end in .png, .svg or .pdf"),
        (["mobilenet_v1_025_128", "--plot", "{folder}/net.gif"], "net.gif must end in .png, .svg or .pdf"),
        (["{model}", "--plot", "{folder}/none/net.png"], "none does not exist"),
    ],
)
def test_unusable_input_is_one_sentence_and_status_2(arguments, sentence, converted, tmp_path):
    result = invoke(*(argument.format(folder=tmp_path, model=converted) for argument in arguments))
    assert result.exit_code == 2
    assert sentence in result.stderr and "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_missing_matplotlib_names_the_extra(converted, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    result = invoke(converted, "--plot", tmp_path / "net.png")
    assert result.exit_code == 2
    assert "pip install 'mobilenets[plots]'" in result.stderr
