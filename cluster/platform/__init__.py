"""The platform in the cluster: what ``up`` establishes."""
