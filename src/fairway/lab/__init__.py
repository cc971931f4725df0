"""A cluster of network namespaces on one machine: nodes, pods, routers, clients."""
