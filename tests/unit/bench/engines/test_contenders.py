"""What is compared: everything this machine runs, and a line on what it does not."""

from pathlib import Path

import pytest

from bench.engines import contenders
from bench.engines.contenders import REFERENCE, Contender, available
from serve_app.detection.engines import cpu


def test_the_reference_comes_first_and_every_precision_has_its_engine() -> None:
    found, missing = available()
    assert found[0] == REFERENCE
    assert Contender("onnxruntime", "fp32") in found
    assert len(found) + len(missing) == 6
    assert len(set(found)) == len(found)


def test_what_is_not_installed_or_not_in_the_cpu_is_left_out_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t: avx2\n")
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(contenders, "find_spec", lambda name: None if name == "openvino" else name)
    found, missing = available()
    assert [contender.name for contender in found] == ["torch fp32", "onnxruntime fp32"]
    assert "openvino fp32: not installed" in missing
    assert any(line.startswith("onnxruntime int8: precision int8") for line in missing)
