"""Kubernetes Services, whole: the API that names them, the controllers that fill them, the kernel that delivers."""

__version__ = "0.1.0"
