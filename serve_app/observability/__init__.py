"""Every series that the service writes, and the page that gathers them from Ray's agents on all nodes.

Runs in the router's process, once per router replica.
"""
