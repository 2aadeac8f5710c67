"""What of each track is published: the folder that stock libraries load, its card, and the way to a hub."""
