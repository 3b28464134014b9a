"""Archives, train directories, SavedModels and checkpoints of objects; the oracle is the arrays that went in."""

import tarfile
import zipfile

import numpy as np
import pytest
import tensorflow
from click.testing import CliRunner

import checkpoints
import converters
from converters import ConversionError
from converters.cli import main
from tests.oracle.files import freeze
from tests.oracle.networks import network
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import load, new_session, variable_shapes
from tests.oracle.slim import tf

SHAPES = variable_shapes("mobilenet_v1", 0.25, num_classes=3)


def values(seed=0):
    return made_up_variables(SHAPES, seed)


def equal(source, variables):
    read = checkpoints.load_variables(source)
    return read.keys() == variables.keys() and all((read[name] == array).all() for name, array in variables.items())


def packed(folder, path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(folder.parent))
    else:
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder, folder.name)
    return path


@pytest.fixture
def train_dir(tmp_path):
    """Three steps and the state file, with the paths of another machine."""
    folder = tmp_path / "train"
    folder.mkdir()
    for step in (0, 1000, 2000):
        checkpoints.save_checkpoint(values(step), folder / f"model.ckpt-{step}")
    (folder / "checkpoint").write_text('model_checkpoint_path: "/home/me/model.ckpt-1000"\n')
    (folder / "graph.pbtxt").write_text("node { }\n")
    return folder


def test_the_state_file_is_the_checkpoint_that_it_names(train_dir):
    assert equal(train_dir / "checkpoint", values(1000)) and equal(train_dir, values(1000))


@pytest.mark.parametrize("name", ["train.tar.gz", "train.zip"])
def test_an_archive_of_a_train_directory(train_dir, name, tmp_path):
    assert equal(packed(train_dir, tmp_path / name), values(1000))


def test_several_checkpoints_without_a_state_file_are_ambiguous(train_dir, tmp_path):
    (train_dir / "checkpoint").unlink()
    with pytest.raises(checkpoints.CheckpointError, match="holds 3 files of variables, but one is expected"):
        checkpoints.load_variables(packed(train_dir, tmp_path / "train.zip"))


def test_a_zip_archive_converts_and_is_checked(train_dir, tmp_path):
    archive = packed(train_dir, tmp_path / "train.zip")
    result = CliRunner().invoke(main, ["convert", str(archive), "-o", str(tmp_path / "m.keras"), "--image-size", "64"])
    assert result.exit_code == 0, result.output
    with checkpoints.open_variables(archive) as variables:
        assert variables.files == (archive,) and variables.checked


@pytest.mark.parametrize("position", [60, -400])
def test_a_damaged_zip_archive_is_an_error(train_dir, position, tmp_path):
    archive = packed(train_dir, tmp_path / "train.zip")
    content = bytearray(archive.read_bytes())
    content[position] ^= 0xFF
    archive.write_bytes(content[: -30 if position < 0 else None])
    with pytest.raises(checkpoints.CheckpointError, match=r"train\.zip"):
        checkpoints.load_variables(archive)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("../m.ckpt.index", "outside the folder"),
        ("/m.ckpt.index", "outside the folder"),
        ("link.index", "neither a plain file nor a folder"),
    ],
)
def test_zip_members_outside_the_folder_and_links_are_refused(name, sentence, tmp_path):
    info = zipfile.ZipInfo(name)
    if name == "link.index":
        info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr(info, b"/etc/passwd")
    with pytest.raises(checkpoints.CheckpointError, match=sentence):
        checkpoints.load_variables(tmp_path / "m.zip")


def test_a_zip_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("checkpoints.archive.MAX_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m.ckpt.index", bytes(1001))
    with pytest.raises(checkpoints.CheckpointError, match="more than 1000 bytes"):
        checkpoints.load_variables(tmp_path / "m.zip")


def saved_model(folder, variables, encoded=False, constant=False):
    """A TF1 SavedModel of slim, as an estimator exports it; its images may be JPEG strings, its weights constants."""
    with tf.Graph().as_default(), new_session() as session:
        tf.get_variable_scope().set_use_resource(False)
        if encoded:
            given = tf.placeholder(tf.string, (None,), name="image_bytes")
            images = tf.map_fn(lambda b: tf.image.resize(tf.image.decode_jpeg(b, 3), (64, 64)), given, dtype=tf.float32)
            images.set_shape((None, 64, 64, 3))
        else:
            given = images = tf.placeholder(tf.float32, (None, 64, 64, 3), name="input")
        logits, _ = network("mobilenet_v1", images, depth_multiplier=0.25, num_classes=3)
        load(session, tf.global_variables(), variables)
        tf.saved_model.simple_save(session, str(folder), {"images": given}, {"logits": logits})
    if constant:
        for file in (folder / "variables").iterdir():
            file.unlink()
    return folder


@pytest.mark.parametrize("encoded", [False, True], ids=["images", "JPEG strings"])
def test_a_saved_model_is_no_hub_module_and_gives_its_weights(encoded, tmp_path):
    folder = saved_model(tmp_path / "1530000000", values(), encoded)
    for source in (folder, folder / "saved_model.pb"):
        conversion = converters.conversion_of(source)
        assert conversion.source_format == "SavedModel"
        read = converters.slim_variables(conversion.model)
        assert all((read[name] == array).all() for name, array in values().items())
    assert conversion.model.input_shape == ((None, 224, 224, 3) if encoded else (None, 64, 64, 3))
    result = CliRunner().invoke(main, ["convert", str(folder), "-o", str(tmp_path / "m.keras")])
    assert result.exit_code == 0 and "hub module" not in result.output, result.output
    assert converters.verify(tmp_path / "m.keras", folder).passed


@pytest.mark.parametrize("kind", ["folder", ".tar.gz", ".zip"])
def test_a_detection_archive_with_an_empty_saved_model(kind, tmp_path):
    root = tmp_path / "ssd_mobilenet_v1_coco"
    root.mkdir()
    saved_model(root / "saved_model", values(), constant=True)
    checkpoints.save_checkpoint(values(), root / "model.ckpt")
    freeze(
        root / "frozen_inference_graph.pb",
        "mobilenet_v1",
        values(),
        depth_multiplier=0.25,
        image_size=64,
        num_classes=3,
    )
    source = root if kind == "folder" else packed(root, tmp_path / f"ssd{kind}")
    assert equal(source, values())
    result = CliRunner().invoke(main, ["convert", str(source), "-o", str(tmp_path / "m.keras")])
    assert result.exit_code == 0, result.output
    with pytest.raises(checkpoints.CheckpointError, match="SavedModel without variables"):
        checkpoints.load_variables(root / "saved_model")


@pytest.mark.parametrize("kind", ["folder", "file", ".zip"])
def test_a_frozen_graph_named_saved_model(kind, tmp_path):
    folder = tmp_path / "pretrained"
    folder.mkdir()
    file = folder / "saved_model.pb"
    freeze(file, "mobilenet_v1", values(), depth_multiplier=0.25, image_size=64, num_classes=3)
    source = {"folder": folder, "file": file, ".zip": packed(folder, tmp_path / "m.zip")}[kind]
    assert equal(source, values())
    result = CliRunner().invoke(main, ["convert", str(source), "-o", str(tmp_path / "m.keras")])
    assert result.exit_code == 0, result.output
    assert converters.load_model(tmp_path / "m.keras").input_shape[1] == 64


@pytest.mark.parametrize("structure", ["list", "dict", "optimizer"])
def test_a_checkpoint_of_objects_has_the_names_of_its_variables(structure, tmp_path):
    variables = [tensorflow.Variable(array, name=name) for name, array in values().items()]
    step = tensorflow.Variable(3, name="global_step")
    objects = {
        "list": {"variables": variables},
        "dict": {"net": {str(index): variable for index, variable in enumerate(variables)}},
        "optimizer": {"variables": variables, "step": step},
    }[structure]
    prefix = tensorflow.train.Checkpoint(**objects).save(str(tmp_path / "ckpt"))
    converted = converters.slim_variables(converters.convert(prefix, input_shape=(64, 64, 3)))
    assert all((converted[name] == array).all() for name, array in values().items())


def test_a_checkpoint_of_a_keras_model_is_named(tmp_path):
    import mobilenets

    model = mobilenets.MobileNetV1(0.25, (64, 64, 3), num_classes=3)
    prefix = tensorflow.train.Checkpoint(model=model).write(str(tmp_path / "mobilenet.ckpt-1"))
    with pytest.raises(ConversionError, match="It is a checkpoint of Keras objects"):
        converters.convert(prefix)


def _zip(names):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"{}")

    return write


def _npz(path):
    with open(path, "wb") as stream:
        np.savez(stream, a=np.ones(3))


FOREIGN = {
    "a .keras file": (_zip(["config.json", "metadata.json", "model.weights.h5"]), "is already a Keras model"),
    "a PyTorch file": (_zip(["archive/data.pkl", "archive/data/0"]), "is a PyTorch file"),
    "a .npz file": (_npz, "is a NumPy .npz file"),
    "another zip": (_zip(["readme.txt"]), "is a zip archive without a checkpoint"),
    "an old PyTorch file": (lambda path: path.write_bytes(b"\x80\x02\x8a\nl\xfc" + bytes(90)), "is a Python pickle"),
    "a text graph": (lambda path: path.write_text('node {\n  name: "input"\n}\n'), "is a graph as text"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_whole_files_of_other_kinds_are_named(kind, tmp_path):
    write, sentence = FOREIGN[kind]
    path = tmp_path / "weights.bin"
    write(path)
    result = CliRunner().invoke(main, ["convert", str(path), "-o", str(tmp_path / "m.keras")])
    assert result.exit_code == 2 and sentence in result.stderr and "cut short" not in result.stderr
    assert not (tmp_path / "m.keras").exists()


def test_parts_of_a_checkpoint_alone(tmp_path):
    checkpoints.save_checkpoint(values(), tmp_path / "m.ckpt")
    (tmp_path / "m.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(checkpoints.CheckpointError, match=r"data-00000-of-00001 is missing next to m\.ckpt\.index"):
        converters.convert(tmp_path / "m.ckpt.index")
    (tmp_path / "m.ckpt.index").rename(tmp_path / "other.ckpt.meta")
    with pytest.raises(checkpoints.CheckpointError, match=r"other\.ckpt\.meta .*without its checkpoint"):
        converters.convert(tmp_path / "other.ckpt.meta")
