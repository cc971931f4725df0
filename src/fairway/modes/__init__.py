"""Ways to make a kernel do it; each mode is one folder with the same four files."""
