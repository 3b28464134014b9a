"""Real weights: checkpoints and frozen graphs of MobileNet V1 0.25 as released, and variables of MobileNet V2 1.0."""

import pytest

import checkpoints
import converters
from converters import ConversionWarning
from converters.images.photographs import load_images

SIZES = [128, 224]
# Class 0 is the background, so an ImageNet class is one more than in lists of 1000.
PANDA, SCHOOL_BUS = 389, 780


@pytest.fixture(scope="module")
def photographs(shared):
    return [shared / "images" / "panda.jpg", *sorted((shared / "images" / "labelled").glob("*.JPEG"))]


@pytest.fixture(scope="module", params=SIZES)
def real(request, shared):
    """``(size, model, frozen graph)``; the size comes from the name of the file."""
    folder = shared / "real" / f"mobilenet_v1_0.25_{request.param}"
    model = converters.convert(folder / f"mobilenet_v1_0.25_{request.param}.ckpt")
    return request.param, model, folder / "frozen_graph.pb"


@pytest.mark.parametrize("dtype", [None, "float64"])
def test_every_endpoint_of_googles_graph_on_photographs(real, photographs, dtype):
    size, model, graph = real
    assert model.input_shape == (None, size, size, 3)
    report = converters.verify(model, graph, load_images(photographs, size), dtype=dtype)
    assert report.passed, str(report)
    assert report.tolerance == (1e-12 if dtype else 1e-5)
    assert len(report.rows) == 30
    assert next(row for row in report.rows if row.name == "MobilenetV1/Logits").top1_agreement == 1


def test_classes_are_named(real, shared):
    size, model, _ = real
    files = {PANDA: shared / "images" / "panda.jpg"}
    if size == 224:
        files[SCHOOL_BUS] = next((shared / "images" / "labelled").glob("0780_school_bus.*"))
    found = model.predict(load_images(files.values(), size), verbose=0).argmax(1)
    assert found.tolist() == list(files)


def test_frozen_graph_is_a_source_too(real, shared):
    size, model, graph = real
    frozen = converters.slim_variables(converters.convert(graph, input_shape=(size, size, 3)))
    found = converters.slim_variables(model)
    assert {name: array.tobytes() for name, array in frozen.items()} == {
        name: array.tobytes() for name, array in found.items()
    }


def test_variables_without_logits_weights(shared):
    """The real MobileNet V2 variables, which lack the logits' weights but hold their biases."""
    source = shared / "real" / "mobilenet_v2_1.0_224_raw_backbone.ckpt"
    with pytest.warns(ConversionWarning, match="feature vector model. Not taken from the source: .*biases"):
        model = converters.convert(source)
    assert model.output_shape == (None, 1280)
    held = checkpoints.load_variables(source)
    found = converters.slim_variables(model)
    assert len(found) == 260
    assert all(array.tobytes() == held[name].tobytes() for name, array in found.items())
    assert converters.verify(model, source).passed
