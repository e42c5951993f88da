"""What runs the service on a machine."""
