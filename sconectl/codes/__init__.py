"""What each code of a finding means. One module for each family; every code that a finding can carry stands in one."""
