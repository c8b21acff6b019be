"""Options and files that commands share."""
