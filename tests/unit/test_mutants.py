"""`make mutants` changes files that are there, and runs tests that are there."""

from pathlib import Path

from tests.mutants import ROOT, targets


def test_every_target_has_its_tests_and_its_own_come_first() -> None:
    found = targets()
    assert found[Path("serve_app/traffic/split.py")] == ["tests/unit/traffic/test_split.py", "tests/unit/traffic"]
    assert found[Path("serve_app/http/admission.py")][0] == "tests/unit/http/test_admission.py"
    assert {Path("serve_app/detection/agreement.py"), Path("export/parity.py")} < found.keys()
    assert all((ROOT / path).exists() for file, tests in found.items() for path in (str(file), *tests))
