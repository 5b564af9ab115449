"""pydantic's errors as lines with path, value and remedy."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from serve_app.explain import explain, member


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = "n"
    share: float = 0.5


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    mode: bool | Literal["always"] = True
    one: Inner | None = None
    several: list[Inner] = []


def lines(values: Any, where: str = "") -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(values)
    return [str(problem) for problem in explain(caught.value, Outer, values, where)]


def test_alternatives_make_one_line_without_their_names() -> None:
    assert lines({"mode": 3}) == [
        "mode: Input should be a valid boolean or 'always', got 3; write true or false, without quotes"
    ]


def test_an_entry_of_a_list_goes_by_its_name_or_its_place() -> None:
    values = {"several": [{"name": "A", "share": "x"}, {"share": "y"}, {"name": 3}]}
    assert lines(values, "at") == [
        "at.several[A].share: Input should be a valid number, got 'x'",
        "at.several[1].share: Input should be a valid number, got 'y'",
        "at.several[2].name: Input should be a valid string, got 3; put it in quotes",
    ]


def test_the_known_keys_are_those_of_the_place() -> None:
    assert lines({"one": {"zzz": 1}, "several": [{"nam": 1}]}) == [
        "one.zzz: unknown key (known here: name, share)",
        "several[0].nam: unknown key, did you mean name?",
    ]


def test_a_long_value_is_cut() -> None:
    (line,) = lines({"several": "x" * 500})
    assert len(line) < 200
    assert line.endswith("xxx...")


def test_a_value_that_is_no_mapping_has_the_path_of_the_whole() -> None:
    (line,) = lines(5, "args")
    assert line.startswith("args: Input should be a valid dictionary")


def test_a_path_begins_without_a_dot() -> None:
    assert (member("", "a"), member("a", "b")) == ("a", "a.b")
