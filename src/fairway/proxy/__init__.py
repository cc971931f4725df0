"""The node agent: objects in, kernel rules out, and nothing twice."""
