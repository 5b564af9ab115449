"""The OpenAPI document, held against the running service by schemathesis: no answer may differ from what it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.service import Service

pytestmark = pytest.mark.integration


def test_schemathesis_finds_no_violation(service: Service, tmp_path: Path) -> None:
    service.deploy(Router={"allow_override": True})
    command = [
        *(
            Path(sys.executable).with_name("schemathesis"),
            "--config-file",
            Path(__file__).with_name("schemathesis.toml"),
        ),
        *("run", f"{service.url}/openapi.json", "--max-examples", "60", "--seed", "1", "--no-color"),
        *("--phases", "examples,coverage,fuzzing", "--request-timeout", "60"),
    ]
    run = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert "Operations:       5 selected / 5 total" in run.stdout
    assert "No issues found" in run.stdout, run.stdout[-3000:]
