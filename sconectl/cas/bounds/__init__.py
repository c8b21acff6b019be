"""What a client may cost: limits, lanes, turns, budgets, and how the CAS refuses."""
