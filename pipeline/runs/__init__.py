"""What experiments leave on disk, found, read, listed, locked and removed."""
