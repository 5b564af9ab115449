"""Who may import what: read from the sources, so that the rooms stay apart."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "schemas": set(),
    "settings": {"errors"},
    "calls": {"schemas", "settings"},
    "traffic": {"schemas", "settings"},
    "breaker": {"settings"},
    "admission": {"errors", "settings"},
    "agreement": {"schemas"},
    "metrics": {"schemas"},
    "openapi": {"request_body", "schemas", "settings"},
    "request_body": {"calls", "errors", "settings"},
    "api": {"calls", "errors", "openapi", "request_body", "schemas", "settings"},
    "backends": {"calls", "errors", "schemas"},
    "dispatch": {"backends", "breaker", "calls", "errors", "metrics", "schemas", "settings", "traffic"},
    "shadow": {"agreement", "backends", "calls", "errors", "metrics", "schemas", "settings"},
    "scrape": {"api", "errors", "metrics"},
    "detection.contract": set(),
    "detection.checkpoint": {"detection.contract", "errors"},
    "detection.imaging": {"errors", "settings"},
    "detection.processing": {"detection.contract", "schemas"},
    "detection.positions": {"detection.contract"},
    "detection.cpu": {"errors"},
    "detection.threads": set(),
    "detection.engine_queue": {"detection.contract", "errors"},
    "detection.torch_detector": {"detection.contract", "detection.cpu", "errors", "settings"},
    "detection.onnx_detector": {"detection.artifact", "detection.contract", "detection.positions", "errors",
                                "settings"},
    "detection.openvino_detector": {"detection.artifact", "detection.contract", "detection.positions", "errors",
                                    "settings"},
    "detection.engines": {"detection.artifact", "detection.contract", "detection.cpu", "detection.onnx_detector",
                          "detection.openvino_detector", "errors", "settings"},
    "detection.pipeline": {"calls", "detection.contract", "detection.engine_queue", "detection.imaging",
                           "detection.processing", "errors",
                           "schemas", "settings"},
}  # fmt: skip
HEAVY = {"torch", "transformers", "onnxruntime", "openvino", "ray"}
MAY_IMPORT_HEAVY = {
    "detection.torch_detector": {"torch", "transformers"},
    "detection.onnx_detector": {"onnxruntime"},
    "detection.openvino_detector": {"openvino"},
    "backends": {"ray"},
    "metrics": {"ray"},
    "router": {"ray"},
    "app": {"ray"},
    "check": {"ray"},
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions; `from serve_app import x` counts as `x`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            package = (ROOT / node.module.replace(".", "/")).is_dir()
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if package else {node.module}
    return found


def modules(package: str) -> dict[str, Path]:
    folder = ROOT / package
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts): path
        for path in folder.rglob("*.py")
        if path.name != "__init__.py"
    }


def ours(path: Path) -> set[str]:
    return {name.removeprefix("serve_app.") for name in imports(path) if name.startswith("serve_app.")}


@pytest.mark.parametrize("module", ALLOWED)
def test_a_room_imports_only_what_it_may(module: str) -> None:
    assert ours(modules("serve_app")[module]) <= ALLOWED[module]


@pytest.mark.parametrize(("module", "path"), modules("serve_app").items())
def test_heavy_libraries_stay_in_their_rooms(module: str, path: Path) -> None:
    heavy = {name.partition(".")[0] for name in imports(path)} & HEAVY
    assert heavy <= MAY_IMPORT_HEAVY.get(module, set())


def test_the_service_knows_nothing_of_export_demo_or_bench() -> None:
    for path in modules("serve_app").values():
        assert not {name.partition(".")[0] for name in imports(path)} & {"export", "demo", "bench", "tests"}


def test_there_is_no_import_cycle() -> None:
    graph = {module: ours(path) for module, path in modules("serve_app").items()}

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"cycle: {' -> '.join((*path, module))}"
        for imported in graph.get(module, set()):
            visit(imported, (*path, module))

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("package", ["serve_app", "export", "demo"])
def test_every_module_says_what_it_holds(package: str) -> None:
    silent = [module for module, path in modules(package).items() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []
