"""Talking to an API server: verbs, kubeconfig, and a cache that follows it."""
