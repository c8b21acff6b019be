"""The audit log: its entries, their newest part in the database, the anchor outside, and its verification."""
