"""The process of the ONNX backend loads neither PyTorch nor transformers, nor the engine that it does not run."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from serve_app.detection.model import artifact
from serve_app.detection.engines.open import open_engine
from serve_app.settings import OnnxSettings
folder = Path(sys.argv[1])
manifest = artifact.load_manifest(folder, "")
detector = open_engine(artifact.read(folder, manifest, ""), manifest, OnnxSettings(threads=1, engine=sys.argv[2]))
detector.infer(np.zeros((1, 3, 64, 96), np.float32))
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_only_its_own_engine_is_loaded(engine: str, tiny_artifact: Path) -> None:
    if find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed; run: .venv/bin/pip install -c constraints.txt -e '.[dev]'")
    command = [sys.executable, "-c", SCRIPT, str(tiny_artifact), engine]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    loaded = set(ran.stdout.split())
    assert engine in loaded
    assert not loaded & ({"torch", "transformers", "onnx", "onnxscript", "ray", "onnxruntime", "openvino"} - {engine})
