"""HTTP: one table of routes, one door that all requests come through, one file for each API."""
