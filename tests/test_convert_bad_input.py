"""What does not fit is an error that lists every difference, before anything is assigned or written."""

import io
import os
import tarfile

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import checkpoints
import converters
import mobilenets
from converters import ConversionError, ConversionWarning
from converters.cli import main
from converters.differences import differences
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

WEIGHTS = "MobilenetV1/Conv2d_3_pointwise/weights"
BETA = "MobilenetV1/Conv2d_4_depthwise/BatchNorm/beta"
EXTRA = "MobilenetV1/Conv2d_99/weights"


@pytest.fixture(scope="module")
def variables():
    return made_up_variables(variable_shapes("mobilenet_v1", 0.25))


def test_every_difference_is_listed(variables):
    wrong = {name: array for name, array in variables.items() if name not in (WEIGHTS, BETA)}
    wrong |= {EXTRA: np.zeros((1, 2), np.float32), "Other/name": np.zeros(3, np.float32)}
    wrong["MobilenetV1/Conv2d_0/BatchNorm/gamma"] = np.zeros(9, np.float32)
    with pytest.raises(ConversionError) as error:
        converters.convert(wrong)
    lines = str(error.value).splitlines()
    assert "2 missing (-), 1 left over (+), 1 misshapen (!)" in lines[0]
    assert lines[1:] == [
        f"- {WEIGHTS} (1, 1, 32, 32)",
        f"- {BETA} (32,)",
        f"+ {EXTRA} (1, 2)",
        "! MobilenetV1/Conv2d_0/BatchNorm/gamma: expected (8,), found (9,)",
    ]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("change", "sign"),
    [
        (lambda v: v.pop(WEIGHTS), f"- {WEIGHTS}"),
        (lambda v: v.update({EXTRA: np.zeros(3, np.float32)}), f"+ {EXTRA}"),
        (lambda v: v.update({BETA: np.zeros(33, np.float32)}), f"! {BETA}"),
        (lambda v: v.update({WEIGHTS + "/RMSProp": np.zeros(3, np.float32)}) or v.pop(WEIGHTS), f"- {WEIGHTS}"),
    ],
    ids=["missing", "extra", "misshapen", "slot without its variable"],
)
def test_a_file_that_does_not_fit(variables, change, sign, version, tmp_path):
    wrong = dict(variables)
    change(wrong)
    checkpoints.save_checkpoint(wrong, tmp_path / "wrong.ckpt", version=version)
    with pytest.raises(ConversionError) as error:
        converters.convert(tmp_path / "wrong.ckpt")
    assert "wrong.ckpt" in str(error.value) and sign in str(error.value)


@pytest.mark.parametrize("stated", [0.5, 0.75, 1.0, 0.2])
def test_wrong_multiplier(variables, stated):
    with pytest.raises(ConversionError, match=f"depth multiplier 0.25, not {stated:g}: MobilenetV1/.* channels where"):
        converters.convert(variables, depth_multiplier=stated)


def test_wrong_name(variables):
    with pytest.raises(ConversionError, match=r"depth multiplier 0.25, not 0.5"):
        converters.convert(variables, name="mobilenet_v1_050_160")
    with pytest.raises(ConversionError, match="holds a mobilenet_v1 network, but 'inception_v2' is a inception_v2"):
        converters.convert(variables, name="inception_v2")


@pytest.mark.parametrize("multiplier", [0.35, 0.5])
def test_neighbours_that_share_shapes(multiplier):
    """0.35 and 0.5 share the first layers' shapes: all are looked at."""
    v2 = made_up_variables(variable_shapes("mobilenet_v2", multiplier))
    with pytest.raises(ConversionError, match=f"depth multiplier {multiplier:g}, not"):
        converters.convert(v2, depth_multiplier={0.35: 0.5, 0.5: 0.35}[multiplier])


def test_another_network(tmp_path):
    checkpoints.save_checkpoint(
        {"resnet_v1_50/conv1/weights": np.zeros((7, 7, 3, 64), np.float32)}, tmp_path / "r.ckpt"
    )
    with pytest.raises(ConversionError, match=r"r\.ckpt holds no network of .*resnet_v1_50"):
        converters.convert(tmp_path / "r.ckpt")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_is_a_warning_that_names_it_or_an_error(variables, value):
    wrong = {name: array.copy() for name, array in variables.items()}
    wrong[WEIGHTS][0, 0, 3, 4] = value
    with pytest.warns(ConversionWarning, match=f"NaN or infinity in 1 variable.*{WEIGHTS}"):
        model = converters.convert(wrong)
    assert converters.slim_variables(model)[WEIGHTS].tobytes() == wrong[WEIGHTS].tobytes()
    with pytest.raises(ConversionError, match=WEIGHTS):
        converters.convert(wrong, strict=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"head": "tail"},
        {"ema": "maybe"},
        {"input_shape": (16, 16, 3)},
        {"batch_norm_momentum": 1.0},
        {"num_classes": 0},
        {"output_stride": 7},
    ],
)
def test_arguments_out_of_range(variables, arguments):
    with pytest.raises(ValueError, match=str(next(iter(arguments.values()))).replace("(", r"\(").replace(")", r"\)")):
        converters.convert(variables, **arguments)


def test_unknown_argument(variables):
    with pytest.raises(TypeError, match="depth_multiplyer"):
        converters.convert(variables, depth_multiplyer=0.25)


def test_nothing_is_assigned_when_something_is_wrong(variables):
    model = mobilenets.MobileNetV1(0.25)
    before = converters.slim_variables(model)
    with pytest.raises(ConversionError, match=BETA):
        converters.assign(model, {name: array for name, array in variables.items() if name != BETA})
    assert all((array == before[name]).all() for name, array in converters.slim_variables(model).items())


shapes = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(1, 3)), max_size=6)


@settings(deadline=None)
@given(shapes, shapes)
def test_differences_are_none_exactly_for_a_bijection(expected, found):
    lines = differences(expected, found)
    assert (lines == []) == (expected == found)
    assert sum(line.sign == "-" for line in lines) == len(expected.keys() - found.keys())
    assert sum(line.sign == "+" for line in lines) == len(found.keys() - expected.keys())


FILES = {
    "missing file": None,
    "empty file": b"",
    "text file": b"these are not the weights you are looking for\n" * 100,
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
@pytest.mark.parametrize("suffix", [".ckpt", ".tgz", ".pb", ".h5"])
def test_unreadable_files_through_the_command_line(content, suffix, tmp_path):
    path = tmp_path / f"mobilenet_v1_0.25_128{suffix}"
    if content is not None:
        path.write_bytes(content)
    result = CliRunner().invoke(main, ["convert", str(path), "-o", str(tmp_path / "o.keras")])
    assert result.exit_code == 2
    assert path.name in result.stderr and "Traceback" not in result.stderr
    assert not list(tmp_path.glob("*.keras")) and not list(tmp_path.glob("*.json"))


def test_output_folder_that_cannot_be_written(variables, tmp_path, monkeypatch):
    """Nothing is left behind, whatever breaks while the model is being written."""
    conversion = converters.conversion_of(variables)
    with pytest.raises(ConversionError, match="does not exist"):
        converters.save_model(conversion, tmp_path / "none" / "model.keras")

    def broken(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(conversion.model, "save", broken)
    with pytest.raises(OSError, match="No space"):
        converters.save_model(conversion, tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def _truncated(folder, variables):
    checkpoints.save_checkpoint(variables, folder / "m.ckpt")
    data = folder / "m.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1000])
    return folder / "m.ckpt"


def _truncated_v1(folder, variables):
    checkpoints.save_checkpoint(variables, folder / "m.ckpt", version=1)
    (folder / "m.ckpt").write_bytes((folder / "m.ckpt").read_bytes()[:-1000])
    return folder / "m.ckpt"


def _index_alone(folder, variables):
    checkpoints.save_checkpoint(variables, folder / "m.ckpt")
    (folder / "m.ckpt.data-00000-of-00001").unlink()
    return folder / "m.ckpt.index"


def _archive_with(member):
    def write(folder, variables):
        with tarfile.open(folder / "m.tgz", "w:gz") as archive:
            archive.addfile(member, io.BytesIO(b""))
        return folder / "m.tgz"

    return write


def _link():
    link = tarfile.TarInfo("m.ckpt.index")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return link


def _not_finite(folder, variables):
    wrong = {name: array.copy() for name, array in variables.items()}
    wrong[WEIGHTS][...] = np.nan
    checkpoints.save_checkpoint(wrong, folder / "m.ckpt")
    return folder / "m.ckpt"


@pytest.mark.parametrize(
    ("write", "sentence", "options"),
    [
        (_truncated, "cut short", []),
        (_truncated_v1, "m.ckpt", []),
        (_index_alone, "is missing next to", []),
        (_archive_with(tarfile.TarInfo("../m.ckpt.index")), "would be written outside the folder", []),
        (_archive_with(_link()), "neither a plain file nor a folder", []),
        (_not_finite, f"NaN or infinity in 1 variable(s): {WEIGHTS}", ["--strict"]),
    ],
    ids=["truncated V2", "truncated V1", "index alone", "../ in an archive", "link in an archive", "NaN and --strict"],
)
def test_damaged_files_through_the_command_line(variables, write, sentence, options, tmp_path):
    source = write(tmp_path, variables)
    result = CliRunner().invoke(main, ["convert", str(source), "-o", str(tmp_path / "o.keras"), *options])
    assert result.exit_code == 2
    assert sentence in result.output and "Traceback" not in result.output
    assert not list(tmp_path.glob("*.keras")) and not list(tmp_path.glob("*.json"))


def test_not_finite_values_are_noted_and_converted_without_strict(variables, tmp_path):
    source = _not_finite(tmp_path, variables)
    result = CliRunner().invoke(main, ["convert", str(source), "-o", str(tmp_path / "o.keras")])
    assert result.exit_code == 0
    assert f"NaN or infinity in 1 variable(s): {WEIGHTS}" in result.output


def test_output_folder_without_permission(variables, tmp_path, monkeypatch):
    checkpoints.save_checkpoint(variables, tmp_path / "m.ckpt")
    (tmp_path / "closed").mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "closed" not in str(path) and allowed(path, mode))
    output = tmp_path / "closed" / "o.keras"
    result = CliRunner().invoke(main, ["convert", str(tmp_path / "m.ckpt"), "-o", str(output)])
    assert result.exit_code == 2 and "not writable" in result.output
    assert not list((tmp_path / "closed").iterdir())
