"""Arms of the study: what each starts from, declares, trains and exports."""
