"""YAML text and what is said about it: nodes, trees with positions, a writer, findings. The ground of all rooms."""
