"""What this machine, this checkout and a site are like, a row for each thing that work can fail on."""
