"""What the reports of all studies are made with: tables as texts, figures, numbers beside the curves of a run."""
