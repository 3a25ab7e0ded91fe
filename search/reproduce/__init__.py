"""The paper's results, stage by stage in one folder: what each stage is, and how far it has come."""
