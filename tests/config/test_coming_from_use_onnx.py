"""What the page "Coming from the USE_ONNX flag" names is there: commands, files, fields, paths, and the refusals."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from export import __main__ as export
from serve_app.errors import MalformedRequest
from serve_app.http.fields import single_values
from serve_app.http.openapi import openapi_document
from serve_app.local.__main__ import commands as local
from serve_app.schemas import BackendStatus, DetectResponse, Options
from serve_app.settings import LimitSettings, OnnxSettings, TorchSettings, TrafficPolicy

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/coming-from-use-onnx.md").read_text()
STEPS = ("Export", "Upload", "Enable", "Verify", "Roll back", "Troubleshooting", "Fields of the request")
CODE = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL))
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
COMMANDS += [code for code in CODE if code.startswith(("make ", "python "))]
PATHS = openapi_document(LimitSettings())["paths"]
MAKEFILE = (ROOT / "Makefile").read_text()
SHIPPED = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
DEPLOYMENTS = {entry["name"] for entry in SHIPPED["applications"][0]["deployments"]}
SETTINGS = {
    *(name for model in (TrafficPolicy, TorchSettings, OnnxSettings) for name in model.model_fields),
    *Options.model_fields, *DetectResponse.model_fields, "image_base64",
}  # fmt: skip
# What is not ours: the old guide's own words, headers, Serve's key, and the values of settings and of `/readyz`.
OTHERS = {
    "USE_ONNX", "USE_ONNX=true", "USE_ONNX=false", "torch.onnx.export", "onnxruntime", "Server-Timing", "env_vars",
    "user_config", "data:", "onnx", "unavailable", "X-Backend: onnx", "X-Backend: torch", "allow_override: true",
    "model.onnx", "manifest.json", "artifact: artifacts/fashionpedia", "source .run/env",
}  # fmt: skip
ROWS = re.findall(r"^\| (`.*`)[^|]* \| (.*) \|$", TEXT.partition("## Fields of the request")[2], re.MULTILINE)


def test_it_has_the_steps_of_the_usual_guide_and_the_readme_leads_there() -> None:
    assert tuple(re.findall(r"^## (.*)$", TEXT, re.MULTILINE)) == STEPS
    assert "(docs/coming-from-use-onnx.md)" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_exist(command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "make":
        target, *variables = arguments
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
        assert all(f"$({variable.partition('=')[0]})" in MAKEFILE for variable in variables)
    elif program == "python":
        assert arguments[0] == "-m"
        assert find_spec(arguments[1])
        assert {word for word in arguments if word.startswith("--")} <= options_of_the_export()
    elif program == "curl":
        url = next(word for word in arguments if word.startswith("http://127.0.0.1:8000/"))
        assert url.removeprefix("http://127.0.0.1:8000") in PATHS
        assert all((ROOT / word[1:]).is_file() for word in arguments if word.startswith("@"))
    else:
        assert (program, arguments[0]) in {("serve", "deploy"), ("tar", "-czf"), ("tar", "-xzf")}
    for word in arguments:
        if word.endswith(".yaml"):
            assert (ROOT / word).is_file()


def options_of_the_export() -> set[str]:
    app = typer.Typer()
    app.command()(export.main)
    return {option for parameter in get_command(app).params for option in parameter.opts}


def test_the_command_behind_make_split_takes_a_share() -> None:
    assert "serve_app.local split $(ONNX)" in MAKEFILE
    assert CliRunner().invoke(local, ["split", "--help"]).exit_code == 0


@pytest.mark.parametrize(
    "code", sorted(set(CODE) - OTHERS - {name for row, _ in ROWS for name in re.findall("`(.*?)`", row)})
)
def test_the_fields_files_and_paths_that_it_names_exist(code: str) -> None:
    if code.startswith("/"):
        assert code in PATHS
    elif "/" in code or ("." in code and " " not in code):
        assert (ROOT / code).exists()
    elif not code.startswith(("make ", "python ")):
        assert code in SETTINGS | DEPLOYMENTS


def test_the_values_that_it_names_are_possible() -> None:
    assert "unavailable" in str(BackendStatus.model_json_schema()["properties"]["state"])
    assert TrafficPolicy(allow_override=True)
    assert "onnxruntime" in (ROOT / "pyproject.toml").read_text()


def test_its_links_lead_somewhere() -> None:
    for target, _, anchor in re.findall(r"\]\((\w[^)#]*)(#?)([^)]*)\)", TEXT):
        page = (ROOT / "docs" / target).read_text()
        headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}
        assert not anchor or anchor in headings, target


@pytest.mark.parametrize(("names", "told"), ROWS)
def test_its_fields_are_refused_in_these_words(names: str, told: str) -> None:
    for name in re.findall(r"`(\w+)`", names):
        with pytest.raises(MalformedRequest) as caught:
            single_values([(name, 1)], ("image_base64", *Options.model_fields), "JSON field")
        assert caught.value.detail == f"unknown JSON field {name!r} ({told})"
