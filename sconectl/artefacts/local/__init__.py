"""A mesh as containers of one machine: what its pods mean for a container engine."""
