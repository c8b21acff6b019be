"""What changes from one apply to the next: secrets that would be lost, and the lock."""
