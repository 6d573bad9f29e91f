"""Where it runs: campaigns on Ray, served surrogates, reports and provenance."""
