"""What a manifest may hold: the models of both kinds, their field types, and what is wrong with a value."""
