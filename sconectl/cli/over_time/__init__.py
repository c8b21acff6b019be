"""Commands about what changes from one apply to the next: the lock, the way back."""
