"""A LiteRT model as a reference: run by the LiteRT interpreter in a process of its own, which a bad file may crash."""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from converters.errors import ConversionError
from converters.litert.network import LiteRTNetwork

_SECONDS, _SECONDS_PER_IMAGE = 60.0, 5.0


class LiteRTReference(LiteRTNetwork):
    """A network in a ``.tflite`` file that can be run; see `LiteRTNetwork`.

    Attributes:
        dtype: in which outputs are compared.
        folded: True: a converter folds all batch norms.
        scales_outputs: False, for the same reason.
        trains: False.
    """

    dtype, folded, scales_outputs, trains = "float32", True, False, False

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns every endpoint for images in [0, 1], as float32; values of an 8-bit model are dequantized.

        Raises:
            ConversionError: the interpreter cannot run the model, crashes or takes too long.
        """
        low, high = self.input_range
        images = (low + (high - low) * images.astype(np.float64)).astype(np.float32)
        endpoints = self.endpoints()
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            np.save(folder / "images.npy", images)
            request = {"model": str(pathlib.Path(self.path).resolve()), "tensors": sorted(set(endpoints.values()))}
            (folder / "request.json").write_text(json.dumps(request))
            self._serve(folder, _SECONDS + _SECONDS_PER_IMAGE * len(images))
            with np.load(folder / "tensors.npz", allow_pickle=False) as arrays:
                tensors = dict(arrays)
        return {name: _shaped(name, tensors[str(index)], len(images)) for name, index in endpoints.items()}

    def _serve(self, folder: pathlib.Path, timeout: float) -> None:
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; from converters.litert.interpreter import serve; "
            "serve(sys.argv[1])"
        )
        command = [sys.executable, "-c", program, str(folder)]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise ConversionError(f"{self.path} cannot be run: the LiteRT interpreter takes too long.") from error
        if done.returncode == 1:
            reason = (done.stderr.decode(errors="replace").strip() or "no reason").splitlines()[-1]
            raise ConversionError(f"{self.path} cannot be run by the LiteRT interpreter: {reason}")
        if done.returncode:
            raise ConversionError(f"{self.path} is damaged: the LiteRT interpreter crashes when it runs the model.")


def _shaped(name: str, array: np.ndarray, batch: int) -> np.ndarray:
    """Logits and predictions as (batch, classes), pooled features as (batch, 1, 1, channels)."""
    if name.endswith(("/Logits", "/Predictions")):
        return array.reshape(batch, -1)
    return array.reshape(batch, 1, 1, -1) if name.endswith("/global_pool") else array
