"""Reading YAML: what it would take silently is named with its line."""

from pathlib import Path

import pytest

from serve_app.config.document import parse_yaml, read_text
from serve_app.errors import ConfigurationError


def told(text: str) -> list[str]:
    return [str(problem) for problem in parse_yaml(text)[1]]


def test_values_come_as_yaml_has_them() -> None:
    assert parse_yaml("a: 1\nb: [x, 0.5, true, null]\n") == ({"a": 1, "b": ["x", 0.5, True, None]}, [])


def test_every_key_that_is_given_twice_is_told_with_both_lines() -> None:
    text = "a: 1\nl:\n- name: N\n  k: 1\n  k: 2\n  'k': 3\na: 2\n"
    assert told(text) == [
        "a: line 7: the key 'a' is given twice, first in line 1; remove one",
        "l[N].k: line 5: the key 'k' is given twice, first in line 4; remove one",
        "l[N].k: line 6: the key 'k' is given twice, first in line 4; remove one",
    ]


def test_a_merged_mapping_may_be_overridden_and_is_looked_at_once() -> None:
    text = "base: &b {k: 1, k: 2, name: base}\none: {<<: *b, name: one}\ntwo: *b\n"
    assert told(text) == ["base.k: line 1: the key 'k' is given twice, first in line 1; remove one"]
    assert parse_yaml(text)[0]["one"] == {"k": 2, "name": "one"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: {b: 2024-01-01}",
            "a.b: line 1: YAML reads 2024-01-01 as a date, which Serve cannot take; put it in quotes",
        ),
        ("a: !!binary aGk=", "a: line 1: YAML reads aGk= as of the type binary, which Serve cannot take"),
        ("a: !!set {x}", "a: line 1: YAML reads as of the type set, which Serve cannot take"),
        ("\n- [.nan]", "[0][0]: line 2: .nan is no number that Serve can take"),
        ("a: -.INF", "a: line 1: -.INF is no number that Serve can take"),
        ("on: 1", "line 1: YAML reads the key on as bool, not as text; put it in quotes"),
        ("a: {1: x}", "a: line 1: YAML reads the key 1 as int, not as text; put it in quotes"),
    ],
)
def test_what_a_deploy_cannot_send_is_told(text: str, problem: str) -> None:
    (one,) = told(text)
    assert one.startswith(problem)


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "a: 1e-2", "a: '2024-01-01'", "'1': x", "a: .5", "a: &x [1]\nb: *x"]
)
def test_these_are_no_problems(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "line 1, column 5: while parsing a flow node, expected the node content, but found '<stream end>'"),
        ("a: 1\n---\nb: 2", "line 2, column 1: expected a single document in the stream, but found another document"),
        ("? [a]\n: 1", "line 1, column 3: while constructing a mapping, found unhashable key"),
        ("a: !ours 1", "line 1, column 4: could not determine a constructor for the tag '!ours'"),
        ("a: &x {b: [*x]}", "line 1, column 4: a.b[0] contains itself"),
        ("x: 2020-13-45", "month must be in 1..12"),
        ("a: \x01", "unacceptable character #x0001: special characters are not allowed"),
        ("[" * 5000, "it is nested too deeply"),
    ],
)
def test_what_is_no_yaml_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_yaml(text)
    assert caught.value.detail.startswith(f"not valid YAML: {reason}")
    assert "\n" not in caught.value.detail


def test_a_text_keeps_its_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes("a: ü\r\n".encode())
    assert read_text(path) == "a: ü\r\n"


def test_what_cannot_be_read_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("binary.yaml").write_bytes(b"\xff\xfe")
    Path("folder.yaml").mkdir()
    reasons = {"binary": "not UTF-8 text", "folder": "Is a directory", "nowhere": "No such file or directory"}
    for name, reason in reasons.items():
        with pytest.raises(ConfigurationError) as caught:
            read_text(Path(f"{name}.yaml"))
        assert caught.value.detail == f"{tmp_path / name}.yaml: {reason}"
