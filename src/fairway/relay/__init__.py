"""The relay: listeners that take the place of a Service's backends, and bring each connection to one of them."""
