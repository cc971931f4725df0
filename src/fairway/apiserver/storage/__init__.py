"""Where the API server keeps its objects: one small contract, several implementations."""
