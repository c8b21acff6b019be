"""The configuration of an image: its user, environment, places, and what of it is carried over."""
