"""The steps of `bench.scaling` in one mode: routers without work in the arms, arms added to one router, and rest."""

import io
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from bench.scaling import control
from bench.scaling.bed import Bed, Layout
from bench.scaling.control import Control
from bench.scaling.load import Source, Window
from bench.service import ROOT
from serve_app.errors import ConfigurationError
from serve_app.local.modes import Mode

SERVICE_S = 0.04
_CLIENTS_EACH = 8  # for an arm: always something to do, nothing to give up
_CLIENTS = 16  # where the arms have no work
_PHOTO = ROOT / "demo/photos/scene-7.jpg"
_BODY_BYTES = 200_000
_SMALLER = 0.98
_SETTLE_S, _SETTLE_TRIES = 1.5, 15


class Plan(NamedTuple):
    """What to measure, and for how long. The ceiling has as many arms as routers, so that no arm is full first."""

    ceiling: tuple[Layout, ...] = (Layout(1, 1), Layout(2, 2))
    arms: tuple[int, ...] = (1, 2, 4)
    at_once: tuple[int, ...] = (1, 32)
    many: Layout = Layout(2, 8)
    warm_up_s: float = 2.0
    seconds: float = 8.0

    @property
    def steps(self) -> int:
        """How often `advance` is called."""
        asked = len(self.ceiling) + len(self.arms) * len(self.at_once) + (self.many not in self.ceiling)
        return asked + 2  # at rest, twice


QUICK = Plan(arms=(1, 2), at_once=(32,), many=Layout(2, 2), warm_up_s=0.5, seconds=1.5)


class Results(NamedTuple):
    """All that was measured in one mode; at rest, first the fewest replicas and then the most."""

    mode: Mode
    ceiling: list[Window]
    scaling: list[Window]
    at_rest: tuple[Control, Control]
    files_limit: int


def body() -> bytes:
    """A photograph as a JPEG of about 200 kB; the Router does not decode it."""
    with Image.open(_PHOTO) as photo:
        side = 1.0
        while True:
            with io.BytesIO() as written:
                photo.resize((round(photo.width * side), round(photo.height * side))).save(written, "JPEG", quality=85)
                if written.tell() <= _BODY_BYTES:
                    return written.getvalue()
            side *= _SMALLER


def measure(bed: Bed, plan: Plan, source: Source, advance: Callable[[str], None]) -> Results:
    """Carry out a plan; `advance` is told what comes next. Raises ConfigurationError where nothing was answered."""

    def ask(layout: Layout) -> Window:
        advance(f"{layout.routers} router(s), {layout.arms} arm(s), {layout.service_s * 1e3:.0f} ms")
        bed.arrange(layout)
        clients = _CLIENTS_EACH * layout.arms if layout.service_s else _CLIENTS
        if bed.node.mode is Mode.fast:
            _settle(bed, layout, source)
        seen = source.window(bed, layout, clients, plan.warm_up_s, plan.seconds)
        if not seen.answered:
            raise ConfigurationError(f"no request was answered with {layout}; by status: {seen.failed}")
        return seen

    def rest(layout: Layout) -> Control:
        advance(f"{layout.routers} router(s), {layout.arms} arm(s), at rest")
        return control.at_rest(bed, layout, plan.seconds)

    few, *more = plan.ceiling
    ceiling = [ask(few)]
    at_few = rest(few)
    scaling = [ask(Layout(1, arms, SERVICE_S, at_once)) for arms in plan.arms for at_once in plan.at_once]
    ceiling += map(ask, more)
    if plan.many not in plan.ceiling:
        ask(plan.many)  # so that every router has spoken with every arm
    at_many = rest(plan.many)
    return Results(bed.node.mode, ceiling, scaling, (at_few, at_many), control.files_limit(bed))


def _settle(bed: Bed, layout: Layout, source: Source) -> None:
    """Wait until HAProxy sends to the routers: after a deploy it asks Ray's own proxy until they pass its checks."""
    for _ in range(_SETTLE_TRIES):
        seen = source.window(bed, layout, _CLIENTS, 0.0, _SETTLE_S)
        if seen.cpu["proxy"] < seen.cpu["router"] / 5:
            return
    raise ConfigurationError("HAProxy still sends through Ray's own proxy; is a router healthy?")
