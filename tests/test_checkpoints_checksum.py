"""The checksum of a variable equals the one in TensorFlow's index."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto

import checkpoints
from checkpoints.tensorflow_checkpoint import V2_DTYPES, read_index


@pytest.mark.parametrize("dtype", sorted(V2_DTYPES))
@pytest.mark.parametrize("shape", [(), (3,), (2, 5, 7), (0, 3)])
def test_the_index_of_tensorflow_has_the_checksum(tmp_path, dtype, shape):
    array = tf.cast(tf.reshape(tf.range(int(np.prod(shape, dtype=int))) % 2, shape), dtype).numpy()
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "x"), tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(array)]
    )
    crc = BundleEntryProto(crc32c=checkpoints.masked_crc32c(array)).SerializeToString()
    assert len(crc) == 5  # a field number and four bytes
    assert crc in (tmp_path / "x.index").read_bytes()


@pytest.mark.parametrize("array", [np.arange(6, dtype=np.float32).reshape(2, 3), np.float64(1.5), np.int64(-1)])
def test_layout_and_byte_order_do_not_matter(array):
    crc = checkpoints.masked_crc32c(array)
    assert checkpoints.masked_crc32c(np.asarray(array).astype(np.asarray(array).dtype.newbyteorder(">"))) == crc
    assert checkpoints.masked_crc32c(np.asfortranarray(array)) == crc


def test_different_values_have_different_checksums():
    assert checkpoints.masked_crc32c(np.float32([0.0])) != checkpoints.masked_crc32c(np.float32([-0.0]))


def test_known_value():
    # The check value of crc32c (of "123456789") is 0xE3069283 (RFC 3720, appendix B.4); masked as LevelDB does.
    crc = 0xE3069283
    rotated = int(f"{crc:032b}"[-15:] + f"{crc:032b}"[:-15], 2)
    assert checkpoints.masked_crc32c(np.frombuffer(b"123456789", np.uint8)) == (rotated + 0xA282EAD8) % 2**32


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([b"a"]), np.array([None])])
def test_text_has_no_checksum(array):
    with pytest.raises(checkpoints.CheckpointError, match="array of numbers"):
        checkpoints.masked_crc32c(array)


REAL = [
    "mobilenet_v1_0.25_128/mobilenet_v1_0.25_128.ckpt",
    "mobilenet_v1_0.25_224/mobilenet_v1_0.25_224.ckpt",
    "mobilenet_v2_1.0_224_raw_backbone.ckpt",
]


@pytest.mark.parametrize("name", REAL)
def test_the_checksums_of_real_checkpoints(shared, name):
    _, entries = read_index(shared / "real" / f"{name}.index")
    with checkpoints.open_variables(shared / "real" / name) as variables:
        assert {key.decode() for key in entries} == set(variables) and len(variables) > 100
        for variable in variables:
            assert checkpoints.masked_crc32c(variables[variable]) == entries[variable.encode()].crc32c, variable
