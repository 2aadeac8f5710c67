"""What data exists and on what terms."""
