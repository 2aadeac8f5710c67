"""What is not on the hub: archives by URL and sets taken by hand, in the raw folder."""
