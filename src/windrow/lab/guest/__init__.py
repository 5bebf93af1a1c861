"""What runs inside the lab kernel. Never imported on the host, but for its tests."""
