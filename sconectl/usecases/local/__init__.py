"""A mesh on one machine: started, looked at, ended."""
