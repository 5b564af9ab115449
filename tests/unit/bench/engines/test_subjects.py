"""What is compared: everything this machine runs, and a line on what it does not."""

from pathlib import Path

import pytest

from bench.engines import subjects
from bench.engines.subjects import REFERENCE, Contender, available
from serve_app.detection.engines import cpu


def test_the_reference_comes_first_and_every_precision_has_its_engine() -> None:
    missing: list[str] = []
    found = available(missing.append)
    assert found[0] == REFERENCE
    assert Contender("onnxruntime", "fp32") in found
    assert len(found) + len(missing) == 6
    assert len(set(found)) == len(found)


def test_what_is_not_installed_or_not_in_the_cpu_is_left_out_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t: avx2\n")
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(subjects, "find_spec", lambda name: None if name == "openvino" else name)
    missing: list[str] = []
    found = available(missing.append)
    assert [contender.name for contender in found] == ["torch fp32", "onnxruntime fp32"]
    assert "left out: openvino fp32: not installed" in missing
    assert any(line.startswith("left out: onnxruntime int8: precision int8") for line in missing)
