"""The one load generator: `plan` says what is sent and noted of each request, `generator` sends it."""
