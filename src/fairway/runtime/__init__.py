"""Clocks, merging queues and retries: what every long-running part needs."""
