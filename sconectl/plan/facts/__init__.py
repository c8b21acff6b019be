"""What is known of a confidential image, and the names that follow from names."""
