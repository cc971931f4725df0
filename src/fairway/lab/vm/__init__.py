"""Guests: a kernel of its own for what the machine's kernel cannot do, with the machine's own files and programs."""
