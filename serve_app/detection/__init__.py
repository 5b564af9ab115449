"""One image through one model: decode, prepare, infer, finish, and how far two answers agree.

Runs in the backends' replicas (`agreement` in the router's, for the shadow comparison); the export uses it too.
"""
