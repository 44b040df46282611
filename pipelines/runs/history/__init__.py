"""Run history: who made what when, one small file per run in the dataset."""
