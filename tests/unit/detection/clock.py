"""A clock that only the test moves, for whatever takes a `clock` argument."""


class FakeClock:
    """Seconds that stand still until they are set; with a `step`, each reading moves them on by that much."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self._step = 0.0, step

    def __call__(self) -> float:
        self.now += self._step
        return self.now
