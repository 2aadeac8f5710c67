"""From all results to one table, a report and figures."""
