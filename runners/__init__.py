"""Runners: programs that read sealed shards and make something, each started as `python -m runners.NAME`."""
