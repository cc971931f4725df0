"""Clocks, merging queues, retries, and when to look for garbage: what every long-running part needs."""
