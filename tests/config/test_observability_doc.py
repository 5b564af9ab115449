"""The document shows the series and links as they are."""

import re

from serve_app.observability.metrics import SERIES
from tests.config.prometheus_tools import FOLDER

DOCS = FOLDER.parents[1] / "docs"
TEXT = (DOCS / "observability.md").read_text()


def test_the_table_lists_exactly_the_declared_series() -> None:
    written = re.findall(r"^\| `ray_(detect_\w+)` \| (\w+) \| (.*) \| (.*) \|$", TEXT, re.MULTILINE)
    declared = [
        (series.name, series.kind, ", ".join(f"`{label}`" for label in series.labels), series.help) for series in SERIES
    ]
    table = "\n".join(f"| `ray_{name}` | {kind} | {labels} | {text} |" for name, kind, labels, text in declared)
    assert written == declared, f"the table has to be:\n{table}"


def test_what_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\((\w[^)#]*)", TEXT):
        assert (DOCS / target).is_file(), target
