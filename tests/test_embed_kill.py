"""`mobilenets embed`, killed at any point: no partial file, finished parts stay, the next run writes the same file."""

import numpy as np
import pytest

from converters.images.embedding import embed
from converters.images.embedding_files import read_part
from converters.images.image_paths import ImagePaths
from converters.images.models import open_image_model
from tests.embedding_job import SIZES, write_images, write_model
from tests.killing import FILE_WORK, kill_at_random_points

LOADED = ("tests.embedding_job", "converters.images.pipeline", "converters.images.embedding_files", "keras.src.saving")


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_killed_job(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    images, images_count = tmp_path / "images", 30
    write_images(images, images_count, broken=(5, 8, 9, 10, 11))
    file = write_model(tmp_path / "model.keras")
    model = open_image_model(file)
    (tmp_path / "reference").mkdir()
    reference = tmp_path / "reference" / f"features{suffix}"
    embed(model, ImagePaths([images]), reference, **SIZES)
    (tmp_path / "work").mkdir()
    output = tmp_path / "work" / f"features{suffix}"
    resumed = []

    def check(killed):
        assert killed or output.exists()
        if output.exists():
            assert output.read_bytes() == reference.read_bytes()
        for part in (tmp_path / "work").glob("*.parts/[0-9]*.npz"):
            found = read_part(part)
            assert len(found.paths) + len(found.broken) in (SIZES["part_size"], images_count % SIZES["part_size"])
            assert np.isfinite(found.features).all()
        result = embed(model, ImagePaths([images]), output, **SIZES)
        resumed.append(result.resumed)
        assert output.read_bytes() == reference.read_bytes()
        assert [path.name for path in (tmp_path / "work").iterdir()] == [output.name]
        output.unlink()

    command = ["tests.embedding_job:run", str(file), str(images), str(output)]
    inside = (*FILE_WORK, "zipfile", "numpy.lib", "pyarrow", "tests")
    points = kill_at_random_points(command, check, 8, inside=inside, loaded=LOADED)
    assert points > 1000
    if suffix == ".parquet":
        return  # the parts are the same
    # Most of those are before the first part or after the last. Images are read all the time between.
    resumed.clear()
    kill_at_random_points(command, check, 10, inside=("converters.images.pipeline",), loaded=LOADED)
    assert len(set(resumed)) >= 5  # the runs that were killed had got to as many different points
