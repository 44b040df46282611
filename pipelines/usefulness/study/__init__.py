"""Results of a usefulness study: statistics, verdicts, tables and figures, and the whole run."""
