"""The traffic policy in force, and how a new one replaces it. Held by the router, read by `http` and `traffic`."""

import logging
from collections.abc import Mapping
from typing import Any

from serve_app.errors import ConfigurationError
from serve_app.settings import TrafficPolicy, parse

logger = logging.getLogger("ray.serve")


class PolicyInForce:
    """The last valid policy. `error` names what was wrong with the latest one, or is None."""

    def __init__(self, policy: TrafficPolicy | None = None) -> None:
        self.current = policy or TrafficPolicy()
        self.error: str | None = None

    def replace(self, user_config: Mapping[str, Any]) -> None:
        """Take a new policy. Never raises: a wrong one is refused by name, and the last good one stays in force."""
        try:
            self.current = parse(TrafficPolicy, user_config, "Router.user_config")
            self.error = None
        except ConfigurationError as error:
            self.error = error.detail
            logger.error("policy refused, the last one stays in force: %s", error.detail)
        logger.info("policy in force: %s", self.current.model_dump_json())
