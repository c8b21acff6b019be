"""The plan for a mesh: its sessions and its chart."""
