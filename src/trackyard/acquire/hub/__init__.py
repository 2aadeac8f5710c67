"""Repositories of the hub: listed, fetched, recorded, verified."""
