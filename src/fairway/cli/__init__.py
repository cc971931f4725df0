"""One command for one question."""
