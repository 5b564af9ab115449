"""What becomes of one request: which backend is drawn, who is asked in which order, and what is counted.

Runs in the router's process, on its event loop. Called by `http`; calls `backends`.
"""
