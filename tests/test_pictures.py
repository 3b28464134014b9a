"""Pictures as users have them: other formats, turned, broken, too large, among other files."""

import io
import json
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner
from PIL import ImageOps, features

import mobilenets
from converters.cli import main
from converters.images import headers
from converters.images.evaluation import evaluate
from converters.images.image_paths import ImagePaths
from converters.images.labelled import Labelled, labels_file
from converters.images.labels import read_labels
from converters.images.models import open_image_model
from converters.images.photographs import decode
from converters.images.pipeline import image_batches
from tests.embedding_job import write_images, write_model

PIXELS = np.random.default_rng(0).integers(256, size=(30, 40, 3), dtype=np.uint8)


def picture(path, **choices):
    PIL.Image.fromarray(PIXELS).save(path, **choices)
    return path


def with_orientation(path, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return picture(path, exif=exif)


def large_png(path, width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model.keras", num_classes=11)


def images_of(paths, **choices):
    (batch,) = image_batches(map(str, paths), 32, **choices)
    assert not batch.broken
    return batch.images


def test_tiff_and_avif_among_others(tmp_path):
    paths = [picture(tmp_path / "a.png"), picture(tmp_path / "b.tif"), picture(tmp_path / "c.TIFF", format="TIFF")]
    PIL.Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 256 + 7).save(tmp_path / "d.tif")
    images = images_of([*paths, tmp_path / "d.tif"])
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(images[0], images[2])
    gray = np.repeat(PIXELS[..., :1], 3, axis=2)
    np.testing.assert_allclose(images[3], mobilenets.preprocess(gray, 32), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(decode(paths[1]), PIXELS)
    if features.check("avif"):
        picture(tmp_path / "e.avif")
        with PIL.Image.open(tmp_path / "e.avif") as image:
            np.testing.assert_array_equal(decode(tmp_path / "e.avif"), np.asarray(image.convert("RGB")))
        assert str(tmp_path / "e.avif") in list(ImagePaths([tmp_path]))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_upright_by_the_exif_orientation(tmp_path, suffix):
    paths = [with_orientation(tmp_path / f"{value}{suffix}", value) for value in range(1, 9)]
    (batch,) = image_batches(map(str, paths), 32)
    assert batch.turned == 7
    for path, stored, turned in zip(paths, batch.images, images_of(paths, turn=True), strict=True):
        as_stored = decode(path)
        np.testing.assert_allclose(stored, mobilenets.preprocess(as_stored, 32), rtol=0, atol=1e-6)
        with PIL.Image.open(path) as image:
            tagged = PIL.Image.fromarray(as_stored)
            tagged.getexif()[0x0112] = image.getexif()[0x0112]
            expected = np.asarray(ImageOps.exif_transpose(tagged))
        np.testing.assert_allclose(turned, mobilenets.preprocess(expected, 32), rtol=0, atol=1e-6)


def jpeg(**choices):
    data = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(data, "JPEG", **choices)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jpg", b"", "it is empty"),
        ("a.jpg", jpeg()[:-300], "JPEG file that is cut short"),
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0", "PNG file that is cut short"),
        ("a.jpg", b"\n<!DOCTYPE html><html>", "it begins like HTML"),
        ("a.png", b"<svg xmlns=''/>", "it begins like SVG"),
        ("a.jpg", b"II*\0 but no more", "it begins like TIFF"),
        ("a.jpg", b"\0\0\0 ftypavif", "it begins like AVIF"),
        ("a.bmp", b"hello", "none of JPEG, PNG, GIF, BMP and WebP"),
    ],
)
def test_reasons(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    (batch,) = image_batches([str(tmp_path / name)], 32)
    assert batch.broken[0].reason.startswith(f"{tmp_path / name} is not an image that can be read")
    assert reason in batch.broken[0].reason


def test_a_picture_that_is_too_large_is_refused_with_its_size(tmp_path, monkeypatch):
    path = large_png(tmp_path / "large.png", 30000, 20000)
    limit = PIL.Image.MAX_IMAGE_PIXELS
    batches = list(image_batches([str(picture(tmp_path / "a.png")), str(path)], 32))
    assert [len(batch.images) for batch in batches] == [1, 0]
    assert "large.png is too large: 30000x20000 pixels" in batches[1].broken[0].reason
    with pytest.raises(ValueError, match="too large: 30000x20000"):
        decode(path)
    assert limit == PIL.Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(headers, "MAX_PIXELS", 30 * 40 - 1)
    with pytest.raises(ValueError, match="too large: 40x30"):
        decode(tmp_path / "a.png")


def test_other_files_are_counted_by_suffix(tmp_path):
    write_images(tmp_path / "inner", 1)
    for name in ("a.txt", "inner/b.TXT", "c.xmp", "README", ".DS_Store", "._a.jpg"):
        (tmp_path / name).touch()
    assert ImagePaths([tmp_path]).skipped() == {".txt": 2, ".xmp": 1, "no suffix": 1}


def test_labels_of_windows(tmp_path):
    (tmp_path / "labels.txt").write_bytes("\ufeffred\r\ngreen\r\n\r\n\r\n".encode())
    assert read_labels(tmp_path / "labels.txt", 2) == ("red", "green")


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_the_commands(model, tmp_path, command):
    (tmp_path / "images").mkdir()
    with_orientation(tmp_path / "images" / "a.jpg", 6)
    (tmp_path / "images" / "notes.txt").touch()
    output = tmp_path / "out.npz"
    arguments = [command, str(model), str(tmp_path / "images"), *(["-o", str(output)] if command == "embed" else [])]
    stored = CliRunner().invoke(main, [*arguments, "--json"])
    assert stored.exit_code == 0, stored.output
    assert "1 image is read as stored" in stored.stderr and "1 .txt" in stored.stderr
    if command == "embed":
        assert json.loads(stored.stdout)["other_files"] == {".txt": 1}
        before = np.load(output)["features"]
        arguments.append("--force")
    turned = CliRunner().invoke(main, [*arguments, "--json", "--upright"])
    assert turned.exit_code == 0 and "as stored" not in turned.stderr
    assert command == "embed" or turned.stdout != stored.stdout
    assert command == "predict" or np.abs(np.load(output)["features"] - before).max() > 0


def test_embed_without_any_readable_picture(model, tmp_path):
    write_images(tmp_path / "bad", 2, broken=(0, 1))
    result = CliRunner().invoke(main, ["embed", str(model), str(tmp_path / "bad"), "-o", str(tmp_path / "out.npz")])
    assert result.exit_code == 2 and "None of the 2 images can be read" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


def test_labels_that_count_from_0(model, tmp_path):
    paths = list(map(str, write_images(tmp_path / "images", 8)))
    opened = open_image_model(model)
    (bias,) = [weight for weight in opened.model.weights if tuple(weight.shape) == (11,)]
    bias.assign(100 * np.eye(11)[5])
    (batch,) = image_batches(paths, opened.image_size)
    best = opened.logits()(batch.images).argmax(1)
    assert set(best) == {5}
    for shift, expected in ((1, True), (0, False)):
        notes = []
        images = [Labelled(path, int(index) - shift) for path, index in zip(paths, best, strict=True)]
        evaluate(opened, images, tmp_path / "journal", note=notes.append)
        assert any("with every class one higher" in note for note in notes) == expected


def test_a_file_of_labels_0_to_999_counts_from_0(tmp_path):
    lines = [f"{index}.png {index}\n" for index in range(1000)]
    for count, first in ((1000, 1), (999, 0)):
        (tmp_path / "labels.txt").write_text("".join(lines[:count]))
        assert labels_file(tmp_path / "labels.txt", tmp_path, 1001)[0].index == first
    assert labels_file(tmp_path / "labels.txt", tmp_path, 1000)[0].index == 0
