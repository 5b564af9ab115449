"""The one load generator: closed loops of clients and open loops at a rate, a record of each request.

`plan` says what is sent and noted, `generator` sends it, `connection` is one HTTP connection.
"""
