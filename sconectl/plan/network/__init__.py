"""Where the services of a mesh are reached: their ports, and the values that name them."""
