"""What keeps the volumes of a running program durable: its system calls, the changes of its files, and the tags."""
