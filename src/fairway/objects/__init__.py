"""Kubernetes objects as values: no sockets, no clock, no files."""
