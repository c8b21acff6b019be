"""Keys and certificates of a CAS and of its simulated machine."""
