"""Commands that give what was made to others."""
