"""Tasks: what is asked, how it is shown, and how answers are scored."""
