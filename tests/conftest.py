"""What every test file shares: quiet TensorFlow, and the way to the reference material beside the checkout."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import pytest

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder ``shared`` beside the checkout: real weights, a real hub module, photographs."""
    if not SHARED.is_dir():
        pytest.skip("the reference material (folder `shared` beside the checkout) is not here")
    return SHARED
