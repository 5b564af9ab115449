"""The Serve config file: read, checked key by key, compared between the backends, and edited in one place.

Runs in the process of the command that deploys or checks, before Serve sees the file.
"""
