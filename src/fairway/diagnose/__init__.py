"""Why: from a packet or a rule back to the object and field that caused it."""
