"""Messages on paths that cannot be opened."""

import numpy as np
import pytest

import checkpoints


@pytest.mark.parametrize(("typed", "meant"), [("model_0.5_160.ckpt", "model_0.50_160.ckpt"), ("nets.pb", "net.pb")])
def test_a_similar_name_in_the_folder_is_suggested(typed, meant, tmp_path):
    checkpoints.save_checkpoint({"a": np.zeros(2, np.float32)}, tmp_path / "model_0.50_160.ckpt")
    (tmp_path / "net.pb").write_bytes(b"graph")
    with pytest.raises(checkpoints.CheckpointNotFound, match=f"Did you mean {meant}\\?$"):
        checkpoints.load_variables(tmp_path / typed)


def test_no_name_is_suggested_if_none_is_similar(tmp_path):
    (tmp_path / "net.pb").write_bytes(b"graph")
    with pytest.raises(checkpoints.CheckpointNotFound, match=r"prefix of a checkpoint\.$"):
        checkpoints.load_variables(tmp_path / "weights.ckpt")


def test_a_whole_file_of_another_kind_is_not_called_cut_short(tmp_path):
    (tmp_path / "notes.txt").write_text("a text")
    with pytest.raises(checkpoints.CheckpointError, match="is not a file of variables") as error:
        checkpoints.load_variables(tmp_path / "notes.txt")
    assert "cut short" not in str(error.value)
