"""The container runtime, images and registries."""
