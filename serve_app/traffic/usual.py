"""What a backend usually takes, and what follows from it: how long to wait, and when silence is a fault.

Pure; one per backend and router replica, held by `traffic.lane`.
"""

from serve_app.settings import TrafficPolicy

# A healthy backend may need so many times as long as usual: other programs run, an image is large.
_OVERDUE, _TIMEOUT = 2.0, 4.0
_SHORTEST_OVERDUE_S, _SHORTEST_TIMEOUT_S = 0.5, 1.0


class Usual:
    """An estimate of the time that a backend takes for one image, learned from its latest answers.

    It is the estimate that TCP makes of a round trip (RFC 6298): a smoothed mean plus four smoothed deviations, so it
    follows a backend that becomes slower within a few answers, and it is wide where the images differ. A call that
    found `ahead` others under way waits for them too: its time counts as `ahead + 1` images, and it is allowed as many
    times the estimate. So a queue under load is not taken for a hang.
    """

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0

    @property
    def is_known(self) -> bool:
        """Whether the backend ever answered."""
        return self._mean is not None

    @property
    def least_s(self) -> float:
        """Below this nobody can expect an answer; 0 while nothing is known."""
        return self._mean or 0.0

    def answered(self, seconds: float, ahead: int, work_s: float) -> None:
        """Learn from an answer that took `seconds`, of which `work_s` were work on this image in the replica."""
        # Replicas and batches work side by side. Then a call's share of the queue is less than an image takes alone.
        sample = max(seconds / (ahead + 1), work_s)
        if self._mean is None:
            self._mean, self._deviation = sample, sample / 2
            return
        self._deviation += (abs(sample - self._mean) - self._deviation) / 4
        self._mean += (sample - self._mean) / 8

    def timeout_s(self, policy: TrafficPolicy, ahead: int) -> float:
        """The time for a call before the other backend is asked: `arm_timeout_s`.

        `auto` is four times what is usual, at least 1 s, and at most 10 s or half of the deadline. It is that most
        while nothing is known.
        """
        most = policy.longest_attempt_s
        if policy.arm_timeout_s != "auto" or not self.is_known:
            return most
        return min(most, max(_SHORTEST_TIMEOUT_S, _TIMEOUT * self._seconds * (ahead + 1)))

    def overdue_s(self, policy: TrafficPolicy) -> float:
        """Twice what is usual, at least 0.5 s: a backend that works and answers nobody for so long may hang."""
        if not self.is_known:
            return policy.longest_attempt_s / 2
        return max(_SHORTEST_OVERDUE_S, _OVERDUE * self._seconds)

    def fair_s(self, policy: TrafficPolicy, ahead: int = 0) -> float:
        """The shortest time-out that says something about the backend; with a shorter one, its client was in a hurry.

        It is twice what is usual too. But for one image it is never over half of the longest time-out: a backend that
        cannot keep to that is broken, whatever it usually takes.
        """
        half = policy.longest_attempt_s / 2
        fair = max(min(_SHORTEST_OVERDUE_S, half), min(_OVERDUE * self._seconds, half) * (ahead + 1))
        return fair if policy.arm_timeout_s == "auto" else min(fair, half)

    @property
    def _seconds(self) -> float:
        return self.least_s + 4 * self._deviation
