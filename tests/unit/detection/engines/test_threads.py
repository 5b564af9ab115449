"""The environment that OpenMP and MKL read while they load."""

import os

import pytest

from serve_app.detection.engines import threads


@pytest.mark.parametrize(("spinning", "policy", "block"), [(False, "PASSIVE", "0"), (True, "ACTIVE", "200")])
def test_counts_and_waiting_are_set(spinning: bool, policy: str, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "before")  # so that it is put back afterwards
    threads.reserve(3, spinning)
    assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "3"
    assert os.environ["OMP_WAIT_POLICY"] == policy
    assert os.environ["KMP_BLOCKTIME"] == block
