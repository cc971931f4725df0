"""Measurements that a reader can repeat: a real proxy process, a made-up cluster, a namespace of its own."""
