"""Runs of any track beside each other: what differs, what came out, and what that proves."""
