"""Container images: how they are built, proved and entered."""
