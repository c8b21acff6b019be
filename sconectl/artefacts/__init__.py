"""Stage 3, pure: turns plans into the bytes of the files that are written under target/."""
