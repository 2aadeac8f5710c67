"""Answers of stock models: what is asked of them (`subject`), and many of them at a time (`engine`)."""
