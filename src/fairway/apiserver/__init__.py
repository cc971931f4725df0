"""The Kubernetes API for everything that has to do with Services."""
