"""Foreign systems behind the ports; one foreign library per file."""
