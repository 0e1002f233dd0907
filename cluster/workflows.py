"""A pipeline as Argo's objects, and what a live Workflow says of its run. Pure: documents in, documents out."""
