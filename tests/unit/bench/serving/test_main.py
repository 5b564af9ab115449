"""What the command says when it cannot begin."""

import signal
from pathlib import Path

import pytest
import typer

from bench.serving import __main__ as command


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)


def test_a_missing_photo_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        command.main(photo=tmp_path / "none.jpg")
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'none.jpg'}: No such file or directory\n"


def test_an_interruption_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    with pytest.raises(typer.Exit) as ended:
        command.main()
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err == "error: interrupted; every server was ended\n"
