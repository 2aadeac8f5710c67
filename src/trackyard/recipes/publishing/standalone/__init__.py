"""Files that are published beside weights, for people without this project: nothing here imports it."""
