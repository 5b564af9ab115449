"""What all commands share."""

import pytest
import typer

from bench import command
from serve_app.errors import ConfigurationError


def test_a_table_is_markdown_in_straight_columns() -> None:
    rows = [["ours", "x", "7"], ["another one", "y", "1234"]]
    assert command.markdown(["name", "", "ms"], rows, words=2).splitlines() == [
        "| name        |     |   ms |",
        "| ----------- | --- | ---: |",
        "| ours        | x   |    7 |",
        "| another one | y   | 1234 |",
    ]


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, command.one_line_errors():
        raise ConfigurationError("no such engine")
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err == "error: no such engine\n"


def test_matplotlib_is_asked_for_by_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install .*\[bench\]"):
        command.require_matplotlib()
