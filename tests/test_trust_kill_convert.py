"""`mobilenets convert` killed at any point: what stands under the final names is whole, and the next run succeeds."""

import hashlib
import re

import pytest

import checkpoints
import converters
import mobilenets
from converters.manifest import manifest_path
from tests.killing import FILE_WORK, kill_at_random_points, run_whole
from tests.oracle.recipes import made_up_variables

# Imports would be most of the points, and none of them writes.
LOADED = ("converters.cli", "converters.manifest", "converters.conversion", "converters.text", "tensorflow")
WRITING = (*FILE_WORK, "zipfile", "h5py", "keras.src.saving")


@pytest.mark.parametrize(("inside", "times"), [(FILE_WORK, 16), (WRITING, 12)], ids=["file work", "writing"])
def test_a_killed_conversion(tmp_path, inside, times):
    source = tmp_path / "net.ckpt"
    variables = made_up_variables(mobilenets.variable_shapes("mobilenet_v1", 0.25, 10))
    checkpoints.save_checkpoint(variables, source, version=1)
    folder = tmp_path / "out"
    folder.mkdir()
    output = folder / "net.keras"
    states = set()

    def check(killed):
        """The manifest is moved into place before the model: a model never stands without its manifest."""
        found = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        states.add((killed, frozenset(found)))
        assert found <= {output.name, manifest_path(output).name}
        assert killed or found == {output.name, manifest_path(output).name}
        if manifest_path(output).exists():
            manifest = converters.read_manifest(manifest_path(output))
            assert manifest["source"]["files"][source.name]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        if output.exists():
            assert_whole(output, variables)
            output.unlink()
            manifest_path(output).unlink()  # one that stands alone stays: the next run is to succeed with it there

    command = ["converters.cli:main", "convert", str(source), "-o", str(output)]
    points = kill_at_random_points(command, check, times, seed=times, inside=inside, loaded=LOADED)
    assert points > 500
    assert (True, frozenset()) in states

    # What killed runs leave is hidden under names of its own, and stands in no later run's way.
    left = re.compile(r"\.[0-9a-f]{8}-net\.(keras|manifest\.json)")
    assert all(left.fullmatch(path.name) for path in folder.iterdir() if path.name.startswith("."))
    run_whole(command)
    assert_whole(output, variables)


def assert_whole(output, variables):
    found = converters.slim_variables(converters.load_model(output))  # against the manifest
    assert found.keys() == variables.keys()
    assert all(found[name].tobytes() == variables[name].tobytes() for name in variables)
