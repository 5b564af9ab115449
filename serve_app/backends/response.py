"""Awaiting a Serve response with a time limit. Used by `backends.client` and `backends.watch`."""

import asyncio
from typing import Any


async def within(response: Any, timeout_s: float) -> Any:
    """The value of a `DeploymentResponse`. Raises TimeoutError after `timeout_s` seconds.

    A caller that stops waiting, for whatever reason, also cancels the work on the replica.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await response
    except (TimeoutError, asyncio.CancelledError):
        response.cancel()
        raise
