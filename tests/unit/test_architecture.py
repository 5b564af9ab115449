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
    "traffic.split": {"schemas", "settings"},
    "traffic.breaker": {"settings"},
    "http.admission": {"errors", "settings"},
    "detection.agreement": {"schemas"},
    "observability.metrics": {"schemas"},
    "http.openapi": {"http.request_body", "schemas", "settings"},
    "http.request_body": {"calls", "errors", "settings"},
    "http.api": {"calls", "errors", "http.openapi", "http.request_body", "schemas", "settings"},
    "backends.client": {"calls", "errors", "schemas"},
    "traffic.dispatch": {
        "backends.client",
        "traffic.breaker",
        "calls",
        "errors",
        "observability.metrics",
        "schemas",
        "settings",
        "traffic.split",
    },
    "traffic.shadow": {
        "detection.agreement",
        "backends.client",
        "calls",
        "errors",
        "observability.metrics",
        "schemas",
        "settings",
    },
    "observability.scrape": {"http.api", "errors", "observability.metrics"},
    "detection.spec": set(),
    "detection.model.checkpoint": {"detection.spec", "errors"},
    "detection.imaging": {"errors", "settings"},
    "detection.processing": {"detection.spec", "schemas"},
    "detection.engines.positions": {"detection.spec"},
    "detection.engines.cpu": {"errors"},
    "detection.engines.threads": set(),
    "detection.engine_queue": {"detection.spec", "errors"},
    "detection.engines.torch": {"detection.spec", "detection.engines.cpu", "errors", "settings"},
    "detection.engines.onnx": {
        "detection.model.artifact",
        "detection.spec",
        "detection.engines.positions",
        "errors",
        "settings",
    },
    "detection.engines.openvino": {
        "detection.model.artifact",
        "detection.spec",
        "detection.engines.positions",
        "errors",
        "settings",
    },
    "detection.engines.open": {
        "detection.model.artifact",
        "detection.spec",
        "detection.engines.cpu",
        "detection.engines.onnx",
        "detection.engines.openvino",
        "errors",
        "settings",
    },
    "detection.pipeline": {
        "calls",
        "detection.spec",
        "detection.engine_queue",
        "detection.imaging",
        "detection.processing",
        "errors",
        "schemas",
        "settings",
    },
}
HEAVY = {"torch", "transformers", "onnxruntime", "openvino", "ray"}
MAY_IMPORT_HEAVY = {
    "detection.engines.torch": {"torch", "transformers"},
    "detection.engines.onnx": {"onnxruntime"},
    "detection.engines.openvino": {"openvino"},
    "backends.client": {"ray"},
    "observability.metrics": {"ray"},
    "router": {"ray"},
    "app": {"ray"},
    "config.serve_file": {"ray"},
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
        assert not {name.partition(".")[0] for name in imports(path)} & {"export", "demo", "training", "bench", "tests"}


def test_there_is_no_import_cycle() -> None:
    graph = {module: ours(path) for module, path in modules("serve_app").items()}

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"cycle: {' -> '.join((*path, module))}"
        for imported in graph.get(module, set()):
            visit(imported, (*path, module))

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("package", ["serve_app", "export", "demo", "training"])
def test_every_module_says_what_it_holds(package: str) -> None:
    silent = [module for module, path in modules(package).items() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []
