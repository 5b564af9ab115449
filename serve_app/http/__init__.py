"""The HTTP side: routes, headers, bodies, limits, and errors as problem documents. A request is refused here.

Runs in the router's process. Calls `traffic`, and shows the state of `backends`.
"""
