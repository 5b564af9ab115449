"""Precisions that this CPU would have to emulate are refused by name; cores are counted on every system."""

import os
from pathlib import Path

import pytest

from serve_app.detection.engines import cpu
from serve_app.errors import ConfigurationError

NEW = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16\n"
OLD = "processor\t: 0\nflags\t\t: fpu sse4_2 avx2\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp bf16\n"


def pretend(cpuinfo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    monkeypatch.setattr(cpu, "_CPUINFO", path)


@pytest.mark.parametrize("cpuinfo", [NEW, ARM])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_what_the_cpu_has_is_accepted(
    cpuinfo: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(cpuinfo, tmp_path, monkeypatch)
    cpu.require(precision)


@pytest.mark.parametrize(("precision", "lacking"), [("int8", "avx512_vnni"), ("bf16", "avx512_bf16")])
def test_what_it_lacks_is_refused_with_the_remedy(
    precision: str, lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(OLD, tmp_path, monkeypatch)
    with pytest.raises(ConfigurationError, match=rf"precision {precision}: .*{lacking}.*use precision fp32"):
        cpu.require(precision)


def test_fp32_runs_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(OLD, tmp_path, monkeypatch)
    cpu.require("fp32")


def test_a_cpu_that_cannot_be_read_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "none")
    with pytest.raises(ConfigurationError, match="cannot tell"):
        cpu.require("int8")


def test_a_cpuinfo_without_flags_offers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend("processor: 0\n", tmp_path, monkeypatch)
    with pytest.raises(ConfigurationError, match="bf16"):
        cpu.require("bf16")


def test_the_cores_are_those_of_this_process_and_where_that_is_unknown_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 6}, raising=False)
    assert cpu.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert cpu.cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu.cores() == 1
