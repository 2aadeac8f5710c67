"""The one guarded way to the web: addresses, requests, downloads."""
