"""What an object may say, kind by kind; every error names the field and has Kubernetes' words.

::

    formats      names, labels, ports, addresses, quantities: text → problems
    metadata     names, labels, owners, finalizers of any kind
    service      with service_addresses; service_network (ServiceCIDR, IPAddress); endpointslice; endpoints
    cluster      Namespace, Node, ServiceAccount, Lease; pod with container; workload
    configuration (ConfigMap, Secret); event; network_policy; selectors
    warnings     accepted, but ill-advised

All are pure functions of documents that have passed the schema (`fairway.apiserver.openapi`): a field that is there
has its type.
"""
