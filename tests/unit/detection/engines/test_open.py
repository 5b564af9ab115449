"""Which engine opens which artifact, and what it refuses."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from serve_app.detection.engines import cpu
from serve_app.detection.engines.onnx import OnnxDetector
from serve_app.detection.engines.open import ENGINES, open_engine
from serve_app.detection.model import artifact
from serve_app.detection.model.artifact import Files, Manifest
from serve_app.errors import ConfigurationError
from serve_app.settings import OnnxSettings
from tests.checkpoints import TOKENS, as_precision


def load(folder: Path) -> tuple[Files, Manifest]:
    manifest = artifact.load_manifest(folder, "")
    return artifact.read(folder, manifest, ""), manifest


def test_onnxruntime_opens_fp32(tiny_artifact: Path) -> None:
    info = open_engine(*load(tiny_artifact), OnnxSettings(threads=1)).info
    assert (info.engine, info.precision, info.device) == ("onnxruntime", "fp32", "CPUExecutionProvider")
    assert info.versions["opset"] == str(artifact.OPSET)


def test_every_precision_has_an_engine() -> None:
    assert all(ENGINES.values())


@pytest.mark.parametrize(("engine", "precision", "able"), [
    ("onnxruntime", "bf16", "openvino"), ("openvino", "int8", "onnxruntime"),
])  # fmt: skip
def test_an_engine_that_cannot_names_the_one_that_can(
    engine: str, precision: artifact.Precision, able: str, tiny_artifact: Path
) -> None:
    files, manifest = load(tiny_artifact)
    manifest = manifest.model_copy(update={"precision": precision})
    settings = OnnxSettings.model_validate({"engine": engine})
    with pytest.raises(ConfigurationError, match=f"does not run {precision} artifacts; set engine: {able}"):
        open_engine(files, manifest, settings)


def test_an_old_cpu_refuses_int8(tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t: avx2\n")
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    folder = as_precision(tiny_artifact, tmp_path / "int8", "int8")
    with pytest.raises(ConfigurationError, match=r"int8: this .* CPU has none of .*vnni"):
        open_engine(*load(folder), OnnxSettings(threads=1))


def test_openvino_that_is_not_installed_names_the_extra(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "serve_app.detection.engines.openvino", raising=False)
    with pytest.raises(ConfigurationError, match=r"run: pip install 'detect-ab\[openvino\]'"):
        open_engine(*load(tiny_artifact), OnnxSettings(engine="openvino"))


def test_a_provider_that_is_not_there_is_named(tiny_artifact: Path) -> None:
    settings = OnnxSettings(providers=["CUDAExecutionProvider"])
    with pytest.raises(ConfigurationError, match="has no CUDAExecutionProvider"):
        open_engine(*load(tiny_artifact), settings)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_file_that_is_no_graph_is_refused(engine: str, tiny_artifact: Path, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    files, manifest = load(tiny_artifact)
    broken = files._replace(folder=tmp_path, model=b"not a graph")
    with pytest.raises(ConfigurationError, match=f"{engine} .* cannot load {tmp_path}/model.onnx"):
        open_engine(broken, manifest, OnnxSettings.model_validate({"engine": engine, "threads": 1}))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_what_was_read_is_what_runs_whatever_becomes_of_the_files(
    engine: str, tiny_artifact: Path, tmp_path: Path
) -> None:
    pytest.importorskip(engine)
    folder = shutil.copytree(tiny_artifact, tmp_path / "artifact")
    files, manifest = load(folder)
    shutil.rmtree(folder)
    detector = open_engine(files, manifest, OnnxSettings.model_validate({"engine": engine, "threads": 1}))
    assert detector.infer(np.zeros((1, 3, 64, 96), np.float32)).logits.shape == (1, TOKENS, 5)


def test_the_session_does_not_keep_a_second_copy_of_the_graph(tiny_artifact: Path) -> None:
    detector = open_engine(*load(tiny_artifact), OnnxSettings(threads=1))
    assert isinstance(detector, OnnxDetector)
    kept = [value for value in vars(detector._session).values() if isinstance(value, bytes) and len(value) > 1000]
    assert kept == []
