"""Conformance with real packets: scenarios, the stage they happen on, and the report of a whole run."""
