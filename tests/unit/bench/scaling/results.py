"""Made-up measurements for the tests of the model and of the report."""

from bench.scaling.bed import Layout
from bench.scaling.control import Control, Record
from bench.scaling.load import Window
from bench.scaling.measure import Results
from bench.scaling.processes import PARTS, Part
from serve_app.local.modes import Mode

RECORD = Record(size=100.0, seconds=1e-6)
NOTHING: dict[Part, float] = dict.fromkeys(PARTS, 0.0)


def window(layout: Layout, answered: int, router: float = 1.0, failed: int = 0) -> Window:
    """Ten seconds in which the arms and the front door took half as much as the routers."""
    return Window(
        layout=layout,
        clients=8,
        seconds=10.0,
        answered=answered,
        failed={503: failed} if failed else {},
        slowest_third=answered / 10 - 1,
        fastest_third=answered / 10 + 1,
        p50_s=0.05,
        p99_s=0.2,
        cpu=NOTHING | {"router": router, "arm": router / 2, "proxy": router / 2},
        generator_cpu=1.0,
    )


def results(mode: Mode = Mode.simple) -> Results:
    """A router that takes 2 ms for a request; each replica 1 % of the controller."""
    few, many = Layout(1, 1), Layout(2, 8)
    return Results(
        mode=mode,
        ceiling=[window(few, 5000, router=10.0), window(Layout(2, 2), 6000, router=12.0)],
        scaling=[window(Layout(1, arms, 0.04, 32), arms * 240) for arms in (1, 2, 4)],
        at_rest=(
            Control(few, 0.05, 80.0, 50_000, 300, 0.05),
            Control(many, 0.13, 115.0, 100_000, 600, 0.09),
        ),
        files_limit=10_000,
    )
