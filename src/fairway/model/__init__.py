"""What a node should do, without kernel words: packets, the NodeView, and the reference answers."""
