"""Stand-ins for the foreign systems behind the ports: each follows rules, none follows a script."""
