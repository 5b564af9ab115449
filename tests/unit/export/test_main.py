"""`python -m export`: one line for each refusal, the exit code that says which kind, never a traceback."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from export import __main__ as command
from export import parity, write
from export.request import Request
from serve_app.detection.agreement import Agreement
from serve_app.detection.engines import threads
from serve_app.detection.model import artifact
from serve_app.detection.model.artifact import Manifest
from tests.checkpoints import PARITY, save

APP = typer.Typer()
APP.command()(command.main)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "reserve", lambda *_, **__: None)  # it would change this process's environment


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(APP, [str(argument) for argument in arguments])


def test_success_tells_what_agreed(tiny: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def pretend(request: Request, say: object) -> Manifest:
        asked.append(request)
        return artifact.load_manifest(tiny_artifact, "")

    monkeypatch.setattr(write, "write", pretend)
    result = run("--checkpoint", tiny, "--out", "somewhere", "--precision", "int8", "--tolerance", "0.02")
    assert result.exit_code == 0
    assert asked == [Request(str(tiny), None, Path("somewhere"), None, 0.02, "int8")]
    assert "36 detections over 0.5 on 12 images agree; scores within 1e-06" in result.stdout


@pytest.mark.parametrize(("detections", "words"), [
    (3, "3 detections over 0.5 on 12 images agree, and so do the raw outputs of 24 queries; scores within"),
    (0, "nothing is detected over 0.5 on 12 images (name others with --images DIR), so only raw outputs were compared: "
        "those of 24 queries agree; scores within"),
])  # fmt: skip
def test_success_claims_no_more_than_was_compared(
    detections: int, words: str, tiny: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = PARITY.model_copy(update={"detections": detections, "queries": 24})
    manifest = artifact.load_manifest(tiny_artifact, "").model_copy(update={"parity": found})
    monkeypatch.setattr(write, "write", lambda *_, **__: manifest)
    assert words in run("--checkpoint", tiny, "--out", "somewhere").stdout


def test_a_current_artifact_is_left_alone(tiny: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "write", lambda *_, **__: pytest.fail("exported again"))
    result = run("--checkpoint", tiny, "--out", tiny_artifact, "--if-stale")
    assert (result.exit_code, result.stdout) == (0, f"{tiny_artifact} is current\n")


def test_a_failed_gate_is_exit_1_with_the_worst_cases(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [f"image {index}: 1 unmatched" for index in range(8)]

    def fail(request: Request, say: object) -> Manifest:
        raise write.GateFailed(parity.Verdict([], faults, PARITY))

    monkeypatch.setattr(write, "write", fail)
    result = run("--checkpoint", tiny, "--out", "somewhere")
    assert result.exit_code == 1
    assert "8 of 12 images differ" in result.stderr
    assert result.stderr.index("image 0") < result.stderr.index("image 4")
    assert "image 5" not in result.stderr


def test_a_failed_comparison_of_raw_outputs_says_how_to_compare_more(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Agreement(True, 0, 0, 1.0, 1.0, 0.0, 0.0)
    case = parity.Case("image", nothing, parity.RawDeviation(12, 0.2, 0.2), 3.0)
    verdict = parity.Verdict([case], [str(case)], PARITY.model_copy(update={"queries": 12}))

    def fail(request: Request, say: object) -> Manifest:
        raise write.GateFailed(verdict)

    monkeypatch.setattr(write, "write", fail)
    result = run("--checkpoint", tiny, "--out", "somewhere")
    assert result.exit_code == 1
    assert "a query by 0.2" in result.stderr
    assert result.stderr.endswith("name images of what it detects with --images DIR\n")


@pytest.mark.parametrize("arguments", [
    ("--checkpoint", "./nowhere"), ("--checkpoint", "./nowhere", "--if-stale"), ("--tolerance", "2"),
    ("--precision", "fp4"),
])  # fmt: skip
def test_bad_input_is_exit_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = run(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def changed(key: str, value: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))

    return change


@pytest.mark.parametrize("if_stale", [(), ("--if-stale",)])
@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        (
            "preprocessor_config.json",
            changed("rescale_factor", None),
            "rescale_factor is null; write a positive number",
        ),
        ("preprocessor_config.json", changed("do_resize", False), "do_resize is false; the service always resizes"),
        ("config.json", changed("num_channels", 1), "num_channels is 1; input should be 3"),
        ("config.json", changed("id2label", {"0": "hat"}), "config.json names 1 label, but the head has 5 outputs"),
        ("config.json", changed("num_hidden_layers", 4), "tensors missing: 16 (vit.encoder.layer.3."),
        ("model.safetensors", lambda path: path.write_bytes(b"torn"), "model.safetensors cannot be read ("),
    ],
)
def test_a_checkpoint_that_cannot_be_right_is_one_line(
    file: str, change: Callable[[Path], None], told: str, if_stale: tuple[str], tiny: Path, tmp_path: Path
) -> None:
    checkpoint = Path(shutil.copytree(tiny, tmp_path / "checkpoint"))
    change(checkpoint / file)
    result = run("--checkpoint", checkpoint, "--out", tmp_path / "out", *if_stale)
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert told in line
    assert not (tmp_path / "out").exists()


def test_an_artifact_from_before_a_setting_was_read_is_not_current(
    tiny: Path, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(tiny_artifact, tmp_path / "artifact"))
    manifest = artifact.load_manifest(folder, "")
    save(folder, manifest.model_copy(update={"spec": manifest.spec.model_copy(update={"pad": (160, 160)})}))
    monkeypatch.setattr(write, "write", lambda *_, **__: manifest)
    assert "agree" in run("--checkpoint", tiny, "--out", folder, "--if-stale").stdout


def test_a_current_artifact_is_not_exported_again_and_torch_is_not_even_loaded(tiny: Path, tiny_artifact: Path) -> None:
    script = (
        "import runpy, sys\n"
        "try:\n"
        "    runpy.run_module('export', run_name='__main__')\n"
        "finally:\n"
        "    print('torch loaded' if 'torch' in sys.modules else 'no torch')\n"
    )
    arguments = ["--checkpoint", str(tiny), "--out", str(tiny_artifact), "--if-stale"]
    ran = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True, timeout=300
    )
    assert ran.stdout.splitlines() == [f"{tiny_artifact} is current", "no torch"]


def test_cores_are_counted_where_the_system_does_not_say_which_are_this_processs(
    tiny: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved: list[int] = []
    monkeypatch.setattr(threads, "reserve", lambda count, spinning: reserved.append(count))
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(write, "write", lambda *_, **__: artifact.load_manifest(tiny_artifact, ""))
    assert run("--checkpoint", tiny, "--out", "somewhere").exit_code == 0
    assert reserved == [os.cpu_count()]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_export_that_is_stopped_leaves_nothing(how: signal.Signals, tiny: Path, tmp_path: Path) -> None:
    script = (
        "import os, runpy, signal\n"
        "from export import write\n"
        # A shell that starts a command in the background lets it ignore SIGINT, and this test may be part of one.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"write.build_within = lambda work, *_: os.kill(os.getpid(), {int(how)})\n"
        "runpy.run_module('export', run_name='__main__')\n"
    )
    arguments = ["--checkpoint", str(tiny), "--out", str(tmp_path / "deep" / "out")]
    ran = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=300)
    assert ran.returncode not in (0, 1, 2)
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []
