"""What keeps objects true: EndpointSlices follow pods, pods follow Deployments."""
