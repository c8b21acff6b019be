"""What owners do with the storage of a volume: back it up, restore it, move data in and out."""
