"""A published model is fetched by its name, converted and verified before the file gets its final name."""

import functools
import io
import json
import tarfile
import tempfile

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import checkpoints
import converters
from converters.cli import main
from converters.manifest import fingerprints
from converters.parity import fingerprints as published_weights
from converters.parity.weights import verify_variables
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

NAME, MODEL = "mobilenet_v1_025_128", "mobilenet_v1_0.25_128"
PLAIN = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
AVERAGED = {name: array * np.float32(1.25) for name, array in PLAIN.items() if "/moving_" not in name}
# What the model is to hold, and what a published module of it would.
TAKEN = PLAIN | AVERAGED
FEATURES = {name: array for name, array in TAKEN.items() if "/Logits/" not in name}
MOVING = sum("/moving_" in name for name in PLAIN)
REAL = "mobilenet_v2_100_224"


def archive() -> bytes:
    """Returns an archive of a checkpoint with averages."""
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as packed:
        averages = {f"{name}/ExponentialMovingAverage": array for name, array in AVERAGED.items()}
        checkpoints.save_checkpoint(PLAIN | averages, f"{folder}/{MODEL}.ckpt")
        packed.add(folder, MODEL)
    return stream.getvalue()


BODY = archive()


@pytest.fixture
def listed(monkeypatch, tmp_path):
    """Replaces the table of published checksums by those of some variables, for one model."""

    def list_checksums(variables, name=NAME):
        lines = [f"{name},{key},,{facts['masked_crc32c']}" for key, facts in fingerprints(variables).items()]
        (tmp_path / "table.csv").write_text("\n".join(["model,variable,shape,masked_crc32c", *lines]))
        monkeypatch.setattr(published_weights, "TABLE", tmp_path / "table.csv")
        monkeypatch.setattr(published_weights, "_table", functools.cache(published_weights._table.__wrapped__))

    return list_checksums


@pytest.fixture
def output(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "model.keras"


def changed(variables, name):
    return variables | {name: np.nextafter(variables[name], np.float32(np.inf), dtype=np.float32)}


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="mobilenets")


def test_a_name_is_fetched_converted_and_verified(published, output):
    result = invoke("convert", NAME, "-o", output)
    assert result.exit_code == 0, result.output
    assert "137 variables of the saved file equal the source's bit for bit" in result.stdout
    assert "83 of 83 trainable variables equal the averaged values" in result.stdout
    assert "checksums" not in result.stdout  # none are known of this model
    assert "127.0.0.1" in result.stdout.partition("fetched from")[2].splitlines()[0]
    manifest = json.loads(output.with_suffix(".manifest.json").read_text())
    assert manifest["source"]["fetched_from"] == published.url(
        f"download.tensorflow.org/models/mobilenet_v1_2018_02_22/{MODEL}.tgz"
    )
    found = converters.slim_variables(converters.load_model(output))
    assert all((found[name] == TAKEN[name]).all() for name in TAKEN)


def test_published_checksums_are_compared(published, listed, output):
    listed(FEATURES)
    facts = json.loads(invoke("convert", NAME, "-o", output, "--json").stdout)
    verification = facts["verification"]["weights"]
    assert verification["compared"] == 137
    assert (
        f"135 of 135 variables have the checksums that the published module of {NAME} lists." in verification["notes"]
    )
    assert any("lists no MobilenetV1/Logits" in note for note in verification["notes"])


@pytest.mark.parametrize(
    "wrong", ["MobilenetV1/Conv2d_5_pointwise/weights", "MobilenetV1/Conv2d_0/BatchNorm/moving_mean"]
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_value_that_was_not_published_is_detected(wrong, as_json, published, listed, output):
    listed(changed(FEATURES, wrong))
    result = invoke("convert", NAME, "-o", output, *["--json"] * as_json)
    assert result.exit_code == 1
    assert (
        f"{output} was not written: 1 of 137 variables and layers" in result.stderr and "--no-verify" in result.stderr
    )
    if as_json:
        report = json.loads(result.stdout)
        assert [row["name"] for row in report["rows"] if not row["passed"]] == [report["first_failure"]] == [wrong]
    else:
        assert "134 of 135 variables have the checksums" in result.stdout and wrong in result.stdout
    assert not list(output.parent.iterdir())
    assert invoke("convert", NAME, "-o", output, "--no-verify").exit_code == 0
    assert invoke("verify", output, NAME).exit_code == 1
    assert invoke("verify", output, output.with_suffix(".manifest.json")).exit_code == 0


def test_the_name_of_a_model_that_the_source_is_not(listed, output, tmp_path):
    listed(FEATURES)
    checkpoints.save_checkpoint({name: 2 * array for name, array in PLAIN.items()}, tmp_path / "own.ckpt")
    result = invoke("convert", tmp_path / "own.ckpt", "--name", NAME, "-o", output)
    assert result.exit_code == 1
    assert f"For weights of your own in this network, do not give {NAME} as the name." in result.stdout
    assert invoke("convert", tmp_path / "own.ckpt", "--image-size", "128", "-o", output).exit_code == 0


def test_a_wrong_file_never_gets_the_final_name(published, output, monkeypatch):
    """The conversion is right, but a wrong file is written."""
    save = keras.Model.save

    def save_wrongly(model, path):
        weight = model.get_layer("MobilenetV1__Conv2d_3_pointwise").kernel
        value = weight.numpy()
        weight.assign(np.nextafter(value, np.float32(np.inf)))
        save(model, path)
        weight.assign(value)

    output.write_bytes(b"mine")
    monkeypatch.setattr(keras.Model, "save", save_wrongly)
    result = invoke("convert", NAME, "-o", output, "--force")
    assert result.exit_code == 1
    assert "MobilenetV1/Conv2d_3_pointwise/weights" in result.stdout and "values differ" in result.stdout
    assert output.read_bytes() == b"mine" and len(list(output.parent.iterdir())) == 1


def test_of_plain_values_only_the_moving_statistics_are_compared(published, listed, output):
    listed(FEATURES)
    notes = json.loads(invoke("convert", NAME, "-o", output, "--ema", "never", "--json").stdout)["verification"][
        "weights"
    ]["notes"]
    assert "83 of 83 trainable variables equal the plain values" in notes[0]
    assert notes[1].startswith(f"{MOVING} of {MOVING} moving statistics have the checksums")
    assert "trainable variables here are plain, and were not compared with it" in notes[2]
    listed(changed(FEATURES, "MobilenetV1/Conv2d_0/BatchNorm/moving_variance"))
    assert invoke("convert", NAME, "-o", output, "--ema", "never", "--force").exit_code == 1


@pytest.mark.parametrize("options", [["--num-classes", 5], ["--head", "feature_vector"], ["--image-size", "any"]])
def test_other_heads_and_sizes(options, published, listed, output):
    listed(FEATURES)
    result = invoke("convert", NAME, "-o", output, *options)
    assert result.exit_code == 0, result.output
    assert "135 of 135 variables have the checksums" in result.stdout
    assert ("The classification layer is new, and was not compared" in result.stdout) == ("--num-classes" in options)


def test_a_file_is_verified_unless_the_user_says_no(published, output):
    path = checkpoints.fetch(NAME)
    assert "137 variables of the saved file" in invoke("convert", path, "-o", output).stdout
    assert "of the saved file" not in invoke("convert", path, "-o", output, "--no-verify", "--force").stdout


def test_the_output_path_is_checked_before_any_download(published, tmp_path):
    result = invoke("convert", NAME, "-o", tmp_path / "none" / "model.keras")
    assert result.exit_code == 2 and "none" in result.stderr
    assert not published.requests


def test_a_name_as_reference(published, listed, output):
    listed(FEATURES)
    invoke("convert", NAME, "-o", output)
    handle = f"https://tfhub.dev/google/imagenet/{NAME}"
    for reference in (NAME, handle):
        result = invoke("verify", output, reference, "--report", output.with_suffix(".html"))
        assert result.exit_code == 0, result.output
        assert "137 of 137 variables are equal bit for bit" in result.stdout
        assert "135 of 135 variables have the checksums" in result.stdout
    page = output.with_suffix(".html").read_text()
    assert f"sha256 of {MODEL}.tgz" in page and "135 of 135 variables" in page
    assert converters.verify(output, NAME).passed
    listed(changed(FEATURES, "MobilenetV1/Conv2d_0/weights"))
    report = converters.verify(output, NAME)
    assert not report.passed and report.first_failure.name == "MobilenetV1/Conv2d_0/weights"


def test_a_variable_that_only_the_published_module_has_is_missing(listed):
    listed(FEATURES | {"MobilenetV1/Conv2d_99/weights": np.zeros(3, np.float32)})
    report = verify_variables("model", PLAIN, PLAIN, "source", "never")
    assert report.passed
    listed({"MobilenetV1/Conv2d_99/BatchNorm/moving_mean": np.zeros(3, np.float32)})
    report = verify_variables("model", PLAIN, PLAIN, "source", "never", NAME)
    assert [(row.name, row.finding) for row in report.rows if not row.passed] == [
        ("MobilenetV1/Conv2d_99/BatchNorm/moving_mean", "missing in the model")
    ]


@pytest.mark.parametrize("name", ["mobilenet_v2_100_224", "mobilenet_v2_140_224"])
def test_the_table_lists_every_variable_of_the_module(name, shared):
    """Names and shapes of the network, and the checksums of the module's own index."""
    found = published_weights.published_fingerprints(name)
    multiplier = float(name[13:16]) / 100
    shapes = {key: shape for key, shape in variable_shapes("mobilenet_v2", multiplier).items() if "/Logits/" not in key}
    assert found.keys() == shapes.keys()
    lines = (shared / "fingerprints" / f"{name}_feature_vector.csv").read_text().splitlines()[1:]
    assert found.items() <= {line.split(",")[1]: line.split(",")[3] for line in lines}.items()


def test_the_genuine_variables(shared):
    """The published checkpoint's plain values: the moving statistics are the module's, no trainable variable is."""
    held = checkpoints.load_variables(shared / "real" / "mobilenet_v2_1.0_224_raw_backbone.ckpt")
    model = {name: array for name, array in held.items() if "/Logits/" not in name}
    report = verify_variables("model", model, held, "checkpoint", "auto", REAL)
    assert report.passed, str(report)
    assert f"104 of 104 moving statistics have the checksums that the published module of {REAL} lists." in report.notes
    rows, notes = published_weights.compared_with_published(report.rows, model, REAL, averaged=True)
    assert {row.name for row in rows if row.passed} == {name for name in model if "/moving_" in name}
    assert notes[0].startswith("104 of 260 variables")
    # One value of one moving statistic, by one bit.
    wrong = changed(model, "MobilenetV2/Conv_1/BatchNorm/moving_mean")
    report = verify_variables("model", wrong, wrong, "checkpoint", "never", REAL)
    assert [row.name for row in report.rows if not row.passed] == ["MobilenetV2/Conv_1/BatchNorm/moving_mean"]
